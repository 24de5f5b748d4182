"""Stopping on request: SIGINT and SIGTERM let the step finish and a checkpoint be written."""

import signal
import sys
from types import FrameType

from lib.errors import Stopped
from lib.system.progress import say


class StopRequest:
    """What the first signal does; the second one ends the process at once, as signals do.

    At first it ends the program where it is: nothing has been done that is not on the disk. From
    `defer` on it is remembered, until `raise_if_requested` is called where stopping is safe.
    Signals are as they were before until `listen` is called.
    """

    def __init__(self):
        self._number: int | None = None
        self._deferred = False
        self._shared = False
        self._shared_number: int | None = None

    def listen(self) -> None:
        """From now on signals are handled by this object."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def listen_again(self) -> None:
        """Takes signals back from a library that has taken them, if they were handled here."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == self._receive:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        self._number = number
        if not self._deferred:
            stopped = Stopped(number)
            say(str(stopped))
            sys.exit(stopped.exit_code)  # passes every `except Exception` of a library

    def defer(self) -> None:
        """From now on there is something to save first."""
        self._deferred = True

    @property
    def number(self) -> int:
        """Of the signal that came; 0 for none."""
        return self._number or 0

    def share(self) -> None:
        """From now on only `agree` asks to stop, so that all workers do at the same place."""
        self._shared = True
        self.defer()

    def agree(self, number: int) -> None:
        """Notes what signal has come to any worker; 0 for none."""
        self._shared_number = number or None

    def raise_if_requested(self) -> None:
        """To be called where stopping is safe.

        Raises:
            Stopped: a signal came.
        """
        number = self._shared_number if self._shared else self._number
        if number is not None:
            raise Stopped(number)
