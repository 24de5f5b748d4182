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

# Waits until its input ends, as it does with the process that started it.
_WATCH = """
import json, os, select, sys
seconds, late, lost = json.loads(sys.argv[1])
lost = {int(number): line for number, line in lost.items()}
ready = select.select([0, *lost], [], [], seconds)[0]
if 0 not in ready:
    print(lost[ready[0]] if ready else late, file=sys.stderr, flush=True)
    os.kill(os.getppid(), 1)
"""


@contextlib.contextmanager
def ends_within(
    seconds: float, late: str, lost: Mapping[socket.socket, str] = MappingProxyType({})
) -> Iterator[None]:
    """Ends this process, with exit code 1 and a line on stderr, where the block cannot end in time.

    Another process watches, and a handler outside of Python ends this one: a call into a library
    that keeps Python's lock lets neither threads nor Python's own handlers run. To be used on the
    main thread.

    Args:
        seconds: that it may take.
        late: the line where it takes longer.
        lost: the line where a connection is closed by its other side, or was before; nothing may
            come through them otherwise.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    # Called with the number of its signal, which for this one is the exit code that is wanted.
    before = libc.signal(signal.SIGHUP, ctypes.cast(libc._exit, ctypes.c_void_p))
    numbers = {link.fileno(): line for link, line in lost.items()}
    watch = [sys.executable, "-I", "-S", "-c", _WATCH, json.dumps([seconds, late, numbers])]
    try:
        with subprocess.Popen(
            watch, stdin=subprocess.PIPE, pass_fds=tuple(numbers), start_new_session=True
        ):
            yield
    finally:
        libc.signal(signal.SIGHUP, before)
