"""The end of a phase: functions of the history alone, so that a resume cannot change it."""

from collections.abc import Sequence

from lib.config import Phase
from lib.runs.history import Epoch


def best_epoch(rows: Sequence[Epoch]) -> Epoch | None:
    """The epoch of the lowest validation loss; of equals, that of the highest accuracy.

    Every other place asks here. The loss moves with each image, the accuracy only with those that
    cross the threshold, so the highest accuracy of many epochs is rather the luckiest one's
    (`benchmarks/choosing.py` measures what each rule is worth).
    """
    return min(rows, key=lambda row: (row.validation_loss, -row.validation_accuracy), default=None)


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
