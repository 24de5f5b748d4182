"""Stopping on request: SIGINT and SIGTERM let the step finish and a checkpoint be written."""

import signal
from types import FrameType

from lib.errors import Stopped


class StopRequest:
    """Remembers the first signal; the second one ends the process at once, as signals do."""

    def __init__(self):
        self._number: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._number = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    def heed(self) -> None:
        """To be called where stopping is safe.

        Raises:
            Stopped: a signal came.
        """
        if self._number is not None:
            raise Stopped(self._number)
