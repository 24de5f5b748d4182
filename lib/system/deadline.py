"""A bound in time for what keeps all other threads of this process from running."""

import contextlib
import ctypes
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

_FROZEN = 5.0  # seconds after which a process that is stopped is taken for lost by the others
_WATCH = Path(__file__).with_name("watch.py")


@contextlib.contextmanager
def ends_within(
    seconds: float, late: str, lost: Mapping[socket.socket, str] = MappingProxyType({})
) -> Iterator[None]:
    """Ends this process, with exit code 1 and a line on stderr, where the block cannot end in time.

    Another process watches, and a handler outside of Python ends this one: a call into a library
    that keeps Python's lock lets neither threads nor Python's own handlers run. To be used on the
    main thread. Where SIGHUP is ignored, as under `nohup`, this process is killed instead.

    Args:
        seconds: that it may take.
        late: the line where it takes longer.
        lost: the line where a connection is closed by its other side, or was before; nothing may
            come through them otherwise. They are closed for the other side where this process is
            stopped (SIGSTOP) for some seconds.
    """
    # Called with the number of its signal, which for SIGHUP is the exit code that is wanted.
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    if not ignored:
        before = libc.signal(signal.SIGHUP, ctypes.cast(libc._exit, ctypes.c_void_p))
    end = signal.SIGKILL if ignored else signal.SIGHUP
    numbers = {link.fileno(): line for link, line in lost.items()}
    told = json.dumps([seconds, _FROZEN, end, late, numbers])
    try:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", _WATCH, told],
            stdin=subprocess.PIPE,
            pass_fds=tuple(numbers),
            start_new_session=True,
        ):
            yield
    finally:
        if not ignored:
            libc.signal(signal.SIGHUP, before)
