"""The state in a checkpoint, besides weights and optimizer: where a run is, how it went so far."""

import dataclasses
import itertools
import json
import math

import tensorflow as tf

from lib.runs.early_stopping import best_epoch
from lib.runs.history import Epoch


@dataclasses.dataclass
class Journal:
    """The course of the run so far, kept in the checkpoint, so that the two never disagree.

    Attributes:
        history: the finished epochs, epoch 0 being the evaluation before training.
        seconds: of training and evaluation by phase, summed over restarts.
        training_seconds: of training alone by phase, likewise.
        epoch_seconds: of training in the unfinished epoch.
        start_seconds: from the command to the first step, of the last start that took one.
        opening_seconds: the part of it before the phase of that step began.
    """

    history: list[Epoch] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    training_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch_seconds: float = 0.0
    start_seconds: float = 0.0
    opening_seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return max(0, len(self.history) - 1)

    def spend(self, phase: str, seconds: float, training: bool) -> None:
        """Adds time to a phase, and to its unfinished epoch if it was spent on training."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        if training:
            self.training_seconds[phase] = self.training_seconds.get(phase, 0.0) + seconds
            self.epoch_seconds += seconds

    def to_json(self) -> str:
        """The journal as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Journal":
        """The journal that `to_json` gave."""
        values = json.loads(text)
        values["history"] = [Epoch(**row) for row in values["history"]]
        return cls(**values)

    @property
    def best(self) -> Epoch | None:
        """The best epoch of the run; None where none is finished."""
        return best_epoch([row for row in self.history if row.epoch > 0])

    def began(self, phase: str) -> tuple[int, int]:
        """How many epochs and steps had been trained when a phase began, or will when it does."""
        rows = list(itertools.takewhile(lambda row: row.phase != phase, self.history))
        return (rows[-1].epoch, rows[-1].step) if rows else (0, 0)


class State(tf.Module):
    """Variables that say where training is; they live on the device and are saved with the weights.

    Attributes:
        step: int64, training steps taken, over all phases.
        phase: string, the phase that has begun last.
        loss_sum: float64, sum of the losses of the unfinished epoch's examples.
        correct: int64, how many of them were classified correctly.
        count: int64, how many there were.
        failed_step: int64, the step at which training cannot go on, as its loss or gradient is not
            finite; -1 if none.
        skipped: int64, updates left out for that reason.
        skipped_in_a_row: int64, how many of them since the last that was made.
    """

    def __init__(self):
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64)
        self.phase = tf.Variable("")
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64)
        self.correct = tf.Variable(0, dtype=tf.int64)
        self.count = tf.Variable(0, dtype=tf.int64)
        self.failed_step = tf.Variable(-1, dtype=tf.int64)
        self.skipped = tf.Variable(0, dtype=tf.int64)
        self.skipped_in_a_row = tf.Variable(0, dtype=tf.int64)
        self._journal = tf.Variable(Journal().to_json())

    @property
    def phase_name(self) -> str:
        """The phase that the last step belonged to."""
        return self.phase.numpy().decode()

    @property
    def journal(self) -> Journal:
        """The course of the run so far; a copy, to be assigned after a change."""
        return Journal.from_json(self._journal.numpy().decode())

    @journal.setter
    def journal(self, journal: Journal) -> None:
        self._journal.assign(journal.to_json())

    def record(self, losses: tf.Tensor, correct: tf.Tensor) -> None:
        """Adds examples to the epoch's running metrics.

        Args:
            losses: float32 [n].
            correct: bool [n].
        """
        self.loss_sum.assign_add(tf.reduce_sum(tf.cast(losses, tf.float64)))
        self.correct.assign_add(tf.reduce_sum(tf.cast(correct, tf.int64)))
        self.count.assign_add(tf.size(losses, tf.int64))

    def metrics(self) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch so far; NaN where there are none."""
        count = float(self.count) or math.nan
        return float(self.loss_sum) / count, float(self.correct) / count

    def take_metrics(self) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch so far; the next one starts from nothing."""
        means = self.metrics()
        for variable in (self.loss_sum, self.correct, self.count):
            variable.assign(tf.zeros_like(variable))
        return means
