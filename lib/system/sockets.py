"""Connections by TCP: listening to all that may call, and calling one that may not listen yet.

One whose other side cannot be reached any more is closed by the system within ten seconds.
"""

import contextlib
import json
import socket
import time
from typing import Any

_AGAIN = 0.2  # seconds
# Ask after 3 seconds of silence, then every 2, and give up after 2 without an answer; where there
# are no such options, the system's own times hold.
_ASKING = (("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 2))


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine, as host:port, at which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]


def listen(port: int, calls: int) -> socket.socket:
    """Listens on all addresses of this machine, of both versions of the protocol if it has both.

    Args:
        port: at which.
        calls: how many may come before the first is accepted.

    Raises:
        OSError: the port is taken.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(("", port), family=family, backlog=calls, dualstack_ipv6=both)
    return _asking(server)  # and so do connections that are accepted from it


def call(address: str, seconds: float) -> socket.socket:
    """A connection to who listens at an address.

    Args:
        address: host:port; the host may be in brackets.
        seconds: for which it is tried again.

    Raises:
        OSError: nobody listens by then.
    """
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=2)
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(_AGAIN)
        else:
            connection.settimeout(None)
            return _asking(connection)


def _asking(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ASKING:
        if option := getattr(socket, name, None):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


def send(connection: socket.socket, message: Any) -> None:
    """Sends what JSON holds."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> Any:
    """What the other side sent, who sends no more before it is answered.

    Raises:
        OSError: the connection is broken, or its time is over.
        ValueError: it was closed, or who is there sends something else.
    """
    with connection.makefile() as file:
        return json.loads(file.readline())
