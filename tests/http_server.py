"""A web server on 127.0.0.1 that misbehaves as a test asks."""

import contextlib
import dataclasses
import re
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = {"ETag": '"first"'}


@dataclasses.dataclass
class Answer:
    """How one request is answered; by default as a good server does."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=lambda: VERSION)
    knows_range: bool = True
    knows_if_range: bool = True
    announced: int | None = None  # a false Content-Length
    announces_length: bool = True
    breaks_off_after: int | None = None  # bytes of the answer
    holds_after: int | None = None  # bytes of the answer; the rest comes when it is released
    released: threading.Event = dataclasses.field(default_factory=threading.Event)


@dataclasses.dataclass
class Server:
    """Where it is, what it was asked, and what it says next (the last answer for ever)."""

    url: str
    answers: list[Answer]
    requests: list[Message]


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """Runs a server in a thread for as long as the block lasts."""
    server = Server("", list(answers), [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(self.headers)
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            with contextlib.suppress(ConnectionError):  # the client was killed
                _send(self, answer)

        def log_message(self, *_: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http_server.server_port}/images.zip"
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        for answer in answers:
            answer.released.set()
        http_server.shutdown()
        http_server.server_close()
        thread.join()


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    body, status, headers = answer.body, answer.status, dict(answer.headers)
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    same = handler.headers.get("If-Range") in headers.values() or not answer.knows_if_range
    if status == 200 and wanted and answer.knows_range and same:
        start, size = int(wanted[1]), len(body)
        if start < size:
            body, status = body[start:], 206
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        else:
            body, status = b"", 416
    if answer.announces_length:
        length = len(body) if answer.announced is None else answer.announced
        headers["Content-Length"] = str(length)
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    sent = 0
    if answer.holds_after is not None:
        handler.wfile.write(body[: answer.holds_after])
        sent = answer.holds_after
        answer.released.wait()
    handler.wfile.write(body[sent : answer.breaks_off_after])
