"""A bound in time for what keeps all other threads of this process from running."""

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Iterator

# Waits until its input ends, as it does with the process that started it.
_WATCH = """
import os, select, sys
seconds, line = float(sys.argv[1]), sys.argv[2]
if not select.select([0], [], [], seconds)[0]:
    print(line, file=sys.stderr, flush=True)
    os.kill(os.getppid(), 1)
"""


@contextlib.contextmanager
def ends_within(seconds: float, line: str) -> Iterator[None]:
    """Ends this process, with exit code 1 and a line on stderr, where the block takes longer.

    Another process watches, and a handler outside of Python ends this one: a call into a library
    that keeps Python's lock lets neither threads nor Python's own handlers run. To be used on the
    main thread.

    Args:
        seconds: that it may take.
        line: why the process had to end.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    # Called with the number of its signal, which for this one is the exit code that is wanted.
    before = libc.signal(signal.SIGHUP, ctypes.cast(libc._exit, ctypes.c_void_p))
    watch = [sys.executable, "-I", "-S", "-c", _WATCH, str(seconds), line]
    try:
        with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True):
            yield
    finally:
        libc.signal(signal.SIGHUP, before)
