"""The time that a run spends, by phase."""

from time import monotonic

from lib.runs.state import State


class Clock:
    """Books seconds on a phase, in the journal of a run.

    Args:
        state: holds the journal.
        phase: the name of the phase.

    Attributes:
        began: when the clock was started, by `time.monotonic`.
    """

    def __init__(self, state: State, phase: str):
        self.began = self._mark = monotonic()
        self._state = state
        self._phase = phase

    def book(self, training: bool) -> float:
        """Books the seconds since the last call, and returns them.

        Args:
            training: whether they were spent on training, and not on anything around it.
        """
        now = monotonic()
        seconds, self._mark = now - self._mark, now
        journal = self._state.journal
        journal.spend(self._phase, seconds, training)
        self._state.journal = journal
        return seconds

    def note_start(self, started: float) -> None:
        """Notes that the first step of this process is done.

        Args:
            started: when the program was, by `time.monotonic`.
        """
        journal = self._state.journal
        journal.start_seconds = monotonic() - started
        journal.opening_seconds = self.began - started
        self._state.journal = journal
