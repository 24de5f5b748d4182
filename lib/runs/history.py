"""The history of a run: a row per epoch, kept as `history.csv`."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from lib.errors import UserError
from lib.system.files import write_csv


@dataclass(frozen=True)
class Epoch:
    """One row of the history. NaN stands for what was not measured, an empty cell in the file.

    Attributes:
        epoch: 0 for the evaluation before training, then from 1 on across phases.
        phase: "start" for epoch 0, then the name of the phase.
        step: the number of training steps taken in all when the epoch ended.
        learning_rate: the rate of the epoch's last step.
        train_loss: mean over the epoch's examples, as they were trained on (augmented, dropout).
        train_accuracy: fraction of the epoch's examples that were classified correctly.
        validation_loss: mean over the validation set after the epoch.
        validation_accuracy: fraction of the validation set that was classified correctly.
        images_per_second: the speed of training, evaluations left out.
        seconds: training and evaluation together.
    """

    epoch: int
    phase: str
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    # Measured by the clock, so the only columns in which two equal runs differ: they come last.
    images_per_second: float
    seconds: float

    @classmethod
    def untrained(cls, loss: float, accuracy: float) -> "Epoch":
        """Epoch 0: the evaluation before training."""
        nan = math.nan
        return cls(0, "start", 0, nan, nan, nan, loss, accuracy, nan, nan)


def phase_starts(history: Iterable[Epoch]) -> list[tuple[int, str]]:
    """After which epoch each phase began, and its name, in their order."""
    starts: dict[str, int] = {}
    for row in history:
        if row.epoch > 0:
            starts.setdefault(row.phase, row.epoch - 1)
    return [(epoch, phase) for phase, epoch in starts.items()]


_TYPES = {field.name: field.type for field in fields(Epoch)}


def write_history(path: Path, epochs: Iterable[Epoch]) -> None:
    """Writes the epochs as CSV with a header; `read_history` gives back the very same numbers."""
    rows = (
        [_cell(getattr(epoch, name), kind) for name, kind in _TYPES.items()] for epoch in epochs
    )
    write_csv(path, _TYPES, rows)


def read_history(path: Path) -> list[Epoch]:
    """Reads what `write_history` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not such a table, say because someone edited it.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        try:
            if next(rows, None) != list(_TYPES):
                raise ValueError("the header is another one")
            return [
                Epoch(
                    *(_value(cell, kind) for cell, kind in zip(row, _TYPES.values(), strict=True))
                )
                for row in rows
            ]
        except ValueError as error:
            raise UserError(
                f"{path}, line {max(rows.line_num, 1)}: {error}; expected the columns "
                f"{','.join(_TYPES)} as a run writes them: undo the edit or remove the file"
            ) from error


def _cell(value: float | str, kind: type) -> str:
    if kind is not float:
        return str(kind(value))
    # repr is the shortest text that reads back as the same float; NumPy's own would name the type.
    return "" if math.isnan(value) else repr(float(value))


def _value(cell: str, kind: type) -> float | str:
    return math.nan if kind is float and cell == "" else kind(cell)
