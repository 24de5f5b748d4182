"""A file lock, for work that one process does while others wait for it."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lib.system.progress import Progress


@contextlib.contextmanager
def exclusive_lock(lock_file: Path, progress: Progress) -> Iterator[None]:
    """Holds a lock, which the system takes back from a process that is killed.

    Args:
        lock_file: made where it is missing, and left there.
        progress: shows the seconds of waiting for another process.
    """
    with open(lock_file, "w") as lock:
        if not try_lock(lock):
            with progress("waiting for another process", 0, "seconds") as advance:
                while not try_lock(lock):
                    time.sleep(1)
                    advance(1)
        yield


def try_lock(lock: IO) -> bool:
    """Locks an open file for this process alone, and says whether it could: else another has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
