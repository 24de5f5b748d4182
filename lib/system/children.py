"""Processes that this one starts: what they say is passed on, and they end with it."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from lib.system import progress

_PR_SET_PDEATHSIG = 1  # of Linux' <sys/prctl.h>
_prctl = getattr(ctypes.CDLL(None), "prctl", None)

# Told the name of a process, how it has ended in words, and its exit code, or a negative number
# for a signal.
Ended = Callable[[str, str, int], None]


def end_with_parent(number: int) -> None:
    """Has the system send this process a signal when the one that started it ends, however.

    For `preexec_fn` of a process without other threads. Does nothing where there is no Linux.

    Args:
        number: of the signal; SIGKILL ends a process that is frozen, too.
    """
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, number)


def when_parent_ends(call: Callable[[], None], after: float) -> None:
    """Calls a function, on a thread, when the process that has this one among its `Children` ends.

    Where that process tells its children to end, they can say so; where it is killed, they are too.

    Args:
        call: the function.
        after: seconds in which this process may find a better reason to end.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        time.sleep(after)
        call()

    threading.Thread(target=wait, daemon=True).start()


class Children:
    """Processes with names, each line of which is said here on stderr as `[name] line`.

    Args:
        grace: seconds that one has to end by itself, and after which one that has ended too early
            is told of: this process may find out why by itself.
    """

    def __init__(self, grace: float):
        self._grace = grace
        self._processes: dict[str, subprocess.Popen] = {}
        self._forwarding: list[threading.Thread] = []
        self._ending = False

    def start(
        self,
        command: Sequence[str],
        variables: Mapping[str, Mapping[str, str]],
        ended: Ended,
    ) -> None:
        """Starts them; on the main thread, whose end the system takes for that of the process.

        Args:
            command: of all.
            variables: of the environment, by the name of each.
            ended: told, on a thread, when one has ended before `end`.
        """
        for name, own in variables.items():
            self._processes[name] = subprocess.Popen(
                command,
                env=os.environ | own,
                stdin=subprocess.PIPE,  # nothing is written: its end tells that this process ended
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                preexec_fn=functools.partial(end_with_parent, signal.SIGKILL),
            )
        for name, process in self._processes.items():  # threads come after the last fork
            forwarding = threading.Thread(target=self._forward, args=(name, process), daemon=True)
            forwarding.start()
            self._forwarding.append(forwarding)
            threading.Thread(target=self._watch, args=(name, process, ended), daemon=True).start()

    def _forward(self, name: str, process: subprocess.Popen) -> None:
        for line in process.stdout:
            progress.say(f"[{name}] {line.rstrip()}", sys.stderr)

    def _watch(self, name: str, process: subprocess.Popen, ended: Ended) -> None:
        code = process.wait()
        time.sleep(self._grace)
        if not self._ending:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            ended(name, how, code)

    def end(self, stay: float = 0.0) -> None:
        """Tells all to end, and kills those that do not in time.

        Args:
            stay: seconds for which this process is there for them before.
        """
        self._ending = True
        time.sleep(stay)
        ends = time.monotonic() + self._grace
        for process in self._processes.values():
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes.values():
            try:
                process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for forwarding in self._forwarding:
            forwarding.join(self._grace)  # longer only if one left a process of its own behind
