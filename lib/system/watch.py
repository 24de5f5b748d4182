"""A process that watches the one that started it, for `lib.system.deadline`; run as a script.

It ends with its standard input, which that process holds open for as long as it is to be watched.
"""

import json
import os
import select
import socket
import sys
import time

_LOOK_EVERY = 0.5  # seconds
_GRACE = 1.0  # seconds in which a process may find a better reason to end than another's end


def main(seconds: float, frozen: float, end: int, late: str, lost: dict[str, str]) -> None:
    """Watches the process that started this one, and ends it with a line on stderr.

    Args:
        seconds: after which it is late.
        frozen: seconds for which it may be stopped before its connections are closed.
        end: the signal that ends it.
        late: the line where it is late.
        lost: the line where a connection is closed by its other side, by its number as a file.
    """
    process, last_ran = os.getppid(), time.monotonic()
    ends = last_ran + seconds
    links = {socket.socket(fileno=int(number)): line for number, line in lost.items()}
    ready: list[int | socket.socket] = []
    while not ready and time.monotonic() < ends:
        ready, _, _ = select.select([0, *links], [], [], min(_LOOK_EVERY, seconds))
        if not _is_stopped(process):
            last_ran = time.monotonic()
        elif not ready and time.monotonic() > last_ran + frozen:
            for link in links:
                link.shutdown(socket.SHUT_RDWR)
    if 0 not in ready and not select.select([0], [], [], _GRACE if ready else 0)[0]:
        print(links[ready[0]] if ready else late, file=sys.stderr, flush=True)
        os.kill(process, end)


def _is_stopped(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in b"tT"
    except OSError:  # there is no such file on other systems than Linux
        return False


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
