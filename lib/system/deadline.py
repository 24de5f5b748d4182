"""A bound in time for what keeps all other threads of this process from running."""

import contextlib
import ctypes
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

_FROZEN = 5.0  # seconds after which a process that is stopped is taken for lost by the others

# Waits until its input ends, as it does with the process that started it.
_WATCH = """
import json, os, select, signal, socket, sys, time

def is_stopped(process):
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in b"tT"
    except OSError:  # not on Linux
        return False

seconds, frozen, end, late, lost = json.loads(sys.argv[1])
lost = {int(number): line for number, line in lost.items()}
ends, process, last_ran, ready = time.monotonic() + seconds, os.getppid(), time.monotonic(), []
while not ready and time.monotonic() < ends:
    ready = select.select([0, *lost], [], [], min(0.5, seconds))[0]
    if not is_stopped(process):
        last_ran = time.monotonic()
    elif not ready and time.monotonic() > last_ran + frozen:
        for number in lost:
            socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
if 0 not in ready:
    print(lost[ready[0]] if ready else late, file=sys.stderr, flush=True)
    os.kill(process, end)
"""


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
            [sys.executable, "-I", "-S", "-c", _WATCH, told],
            stdin=subprocess.PIPE,
            pass_fds=tuple(numbers),
            start_new_session=True,
        ):
            yield
    finally:
        if not ignored:
            libc.signal(signal.SIGHUP, before)
