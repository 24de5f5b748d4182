"""Downloads of a file that go on where they stopped.

`download(url, part, b"PK", progress, answer_within=7.0)` returns once `part` holds the whole file.
Which version of the file the bytes so far belong to is remembered next to it (`part` + `.json`), so
that a later call, in another process too, appends to them only what belongs to that same version.
"""

import dataclasses
import http.client
import itertools
import json
import os
import queue
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from lib.system import fault_points
from lib.system.atomic import replacing
from lib.system.progress import Progress

CONNECTIONS = 10  # at most in one call, and a new one only after the last has brought something
STALLED_AFTER = 30.0  # seconds without a single byte
CHUNK = 1 << 16  # bytes

_Response = http.client.HTTPResponse | urllib.error.HTTPError


class DownloadError(Exception):
    """Why an address did not give its file, in a few words for a line that names the address."""


@dataclasses.dataclass(frozen=True)
class _Version:
    """What an unfinished file is the beginning of."""

    url: str
    validator: str  # the ETag or Last-Modified by which the server recognises it
    size: int  # bytes, of the whole file


def download(
    url: str, part: Path, signature: bytes, progress: Progress, answer_within: float
) -> None:
    """Fetches the file at an address, going on where an earlier call was stopped or killed.

    One process at a time may write to `part`. The length is checked against what the server
    announced; what the bytes mean is for the caller to check.

    Args:
        url: an http or https address.
        part: the file to write to; only after this function has returned is it whole.
        signature: the bytes that such a file begins with. An answer that begins otherwise, such as
            the log-in page of a network, replaces nothing that has come before.
        progress: how the work is reported, in bytes.
        answer_within: seconds for the server to be found, reached and heard from.

    Raises:
        DownloadError: the server cannot be reached, refuses, or breaks off without progress. What
            has come so far is kept.
        OSError: the file cannot be written.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError("not an http or https address")
    for connection in range(1, CONNECTIONS + 1):
        before = _size(part)
        try:
            return _one_connection(url, part, signature, progress, answer_within)
        except DownloadError:
            if _size(part) <= before or connection == CONNECTIONS:
                raise


def source_of(part: Path) -> str | None:
    """The address that an unfinished file can be continued from, if there is one."""
    version = _remembered(part)
    return version.url if version else None


def discard(part: Path) -> None:
    """Removes an unfinished or unwanted file and what is remembered of it."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _one_connection(
    url: str, part: Path, signature: bytes, progress: Progress, answer_within: float
) -> None:
    version = _remembered(part)
    start = _size(part) if version and version.url == url else 0
    if version and 0 < start == version.size:  # Stopped after the last byte.
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        return
    response, start = _begin(url, start, version, answer_within)
    with response:
        # The length is None where the server announces none; what it sends is then taken as whole.
        size = version.size if start else response.length or 0
        chunks = _chunks(response, len(signature))
        beginning = next(chunks)
        if start == 0:
            if beginning != signature:
                raise DownloadError(f"what it sends is another kind of file ({beginning!r}...)")
            _start_anew(part, url, response, size)
        with (
            open(part, "ab") as file,
            progress(f"downloading {part.stem}", size, "bytes") as advance,
        ):
            advance(start)
            for chunk in itertools.chain([beginning], chunks):
                fault_points.point("download")
                file.write(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # Whoever renames it takes it for whole.
    if size and _size(part) != size:
        raise DownloadError(f"the connection broke off after {_size(part):,} of {size:,} bytes")


def _begin(
    url: str, start: int, version: _Version | None, answer_within: float
) -> tuple[http.client.HTTPResponse, int]:
    """The response to read from, and at which byte of the file it begins."""
    if start:
        wanted = {"Range": f"bytes={start}-", "If-Range": version.validator}
        response = _answer(url, wanted, answer_within)
        if _continues(response, start, version):
            return response, start
        if response.status not in (
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        ):
            return _whole(response), 0
        response.close()
    return _whole(_answer(url, {}, answer_within)), 0


def _whole(response: _Response) -> http.client.HTTPResponse:
    if response.status != HTTPStatus.OK:
        response.close()
        raise DownloadError(f"the server answered {response.status} {response.reason}")
    return response


def _answer(url: str, headers: dict[str, str], within: float) -> _Response:
    """Asks for an address and waits a limited time for the status line and the headers.

    The time limit of `urlopen` counts for each address of a host anew and not at all for the
    look-up of its name, so without a network it alone may take minutes.
    """
    outcome: queue.SimpleQueue[_Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, headers=headers)
            outcome.put(urllib.request.urlopen(request, timeout=STALLED_AFTER))
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = outcome.get(timeout=within)
    except queue.Empty:
        raise DownloadError(f"no answer within {within:g} seconds") from None
    if isinstance(answer, urllib.error.HTTPError):
        return answer
    # A ValueError is what an address that is none, or a name that cannot be encoded, leads to.
    if isinstance(answer, OSError | http.client.HTTPException | ValueError):
        raise DownloadError(_reason(answer)) from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _chunks(response: http.client.HTTPResponse, first: int) -> Iterator[bytes]:
    """The bytes of an answer as they come; the first chunk has that length, or all there is."""
    try:
        yield response.read(first)
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"the connection broke: {_reason(error)}") from error


def _continues(response: _Response, start: int, version: _Version) -> bool:
    """Whether an answer is the rest of the very file that was begun.

    Compared here although `If-Range` asks the server to: some know `Range` alone.
    """
    begins = re.match(r"bytes (\d+)-\d+/(\d+)$", response.headers.get("Content-Range", ""))
    return (
        response.status == HTTPStatus.PARTIAL_CONTENT
        and begins is not None
        and (int(begins[1]), int(begins[2])) == (start, version.size)
        and _validator(response) in (None, version.validator)
    )


def _validator(response: _Response) -> str | None:
    etag = response.headers.get("ETag", "")
    # A weak ETag (W/"...") names what means the same, not what is the same byte for byte.
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _start_anew(part: Path, url: str, response: http.client.HTTPResponse, size: int) -> None:
    # Emptied first: a kill between the two steps must not leave old bytes under a new name.
    part.write_bytes(b"")
    validator = _validator(response)
    if validator and size:
        with replacing(_record(part)) as record:
            record.write_text(json.dumps(dataclasses.asdict(_Version(url, validator, size))))
    else:
        _record(part).unlink(missing_ok=True)


def _remembered(part: Path) -> _Version | None:
    try:
        return _Version(**json.loads(_record(part).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # Never begun, or not by this program: nothing that could be continued.


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # A URLError only wraps what went wrong.
    return " ".join(str(cause).split()) or type(cause).__name__
