"""The end of a phase: functions of the history alone, so that a resume cannot change it."""

from collections.abc import Sequence

from lib.config import Phase
from lib.runs.history import Epoch


def best_epoch(rows: Sequence[Epoch]) -> Epoch | None:
    """The epoch of the highest validation accuracy; of equals, that of the lowest loss."""
    return max(rows, key=lambda row: (row.validation_accuracy, -row.validation_loss), default=None)


def epochs_of(phase: Phase, history: Sequence[Epoch]) -> list[Epoch]:
    """The finished epochs of a phase."""
    return [row for row in history if row.phase == phase.name]


def is_finished(phase: Phase, history: Sequence[Epoch]) -> bool:
    """Whether a phase has all of its epochs, or `patience` epochs without a better one."""
    rows = epochs_of(phase, history)
    if len(rows) >= phase.epochs:
        return True
    since_best = len(rows) - 1 - rows.index(best_epoch(rows)) if rows else 0
    return 0 < phase.patience <= since_best
