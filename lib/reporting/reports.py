"""The reports of a run while it trains: lines, plots, TensorBoard, tables."""

import contextlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from lib.config import HOUSEKEEPING, setting, written
from lib.errors import UserError, reason
from lib.reporting import plots
from lib.reporting.layer_table import Row, as_markdown, as_text
from lib.reporting.predictions import Predictions
from lib.reporting.rendering import Renderer
from lib.reporting.tensorboard import Summaries
from lib.reporting.tiles import SHOWN, tiles
from lib.runs.history import Epoch, write_history
from lib.system.atomic import replacing
from lib.system.progress import duration, say


class Reports:
    """Where a run is reported: `plots/`, `tensorboard/` and `history.csv` in its folder.

    Figures are rendered by another process, and kept by this one when they are.

    What cannot be written is a warning, and training goes on: only checkpoints are worth a stop,
    and at the end the report.

    Args:
        folder: of the run.
        step: the step that the run goes on from.
        history: the epochs before it.

    Raises:
        UserError: the folder cannot be written from the start.
    """

    def __init__(self, folder: Path, step: int, history: Sequence[Epoch]):
        self._folder = folder
        self._torn = False  # whether a summary may have been lost, or half of it written
        self._renderer = Renderer()
        self._begun = deque()  # figures that are rendered: name, split, step and result
        try:
            self._summaries = Summaries(folder / "tensorboard", resume_step=step)
            write_history(folder / "history.csv", history)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"{setting('workdir', folder)} cannot be written ({reason(error)}): make room or"
                " make it writable; the same command then goes on"
            ) from error
        if history:  # whose curves a kill may have left behind
            self._curves_figure(history)

    def configuration(self, flags: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Shows what the run is: its flags, and what it found."""
        text = json.dumps({**flags, **facts}, indent=2, ensure_ascii=False)
        compared = {
            name: value if isinstance(value, bool | float | int) else written(value) or "none"
            for name, value in flags.items()
            if name not in HOUSEKEEPING
        }
        folder = self._folder.absolute()
        name = f"{folder.name} ({folder.parent})"  # the table has room for the first part only
        with self._tolerant("the configuration"):
            self._summaries.describe(name, f"```\n{text}\n```", compared)

    def layers(self, phase: str, rows: Sequence[Row], step: int) -> None:
        """Shows what is frozen and what is trained in a phase."""
        say(f"\nPhase {phase}:\n{as_text(rows)}\n")
        with self._tolerant("the layer table"):
            self._summaries.text("train", f"layers/{phase}", as_markdown(rows), step)

    def graph(self, phase: str, graph: tf.Graph, step: int) -> None:
        """Shows the training step of a phase."""
        with self._tolerant("the graph"):
            self._summaries.graph("train", f"train_step/{phase}", graph, step)

    def step(self, step: int, measurements: Mapping[str, tf.Tensor]) -> None:
        """Adds what was measured in a step to its curves; what is no number is left out."""
        numbers = {f"step/{name}": float(value) for name, value in measurements.items()}
        with self._tolerant("the summaries"):
            finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
            self._summaries.scalars("train", step, finite)

    def histograms(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Shows how the numbers of each name are distributed."""
        with self._tolerant("the histograms"):
            self._summaries.histograms("train", values, step)

    def has_images(self, name: str, step: int, split: str = "train") -> bool:
        """Whether `images` has kept the figure of that name and step, at this start or before."""
        self.keep_rendered()
        return self._plot(name).is_file() and self._summaries.has(split, name, step)

    def images(self, name: str, figure: Figure, step: int, split: str | None = "train") -> None:
        """Has a figure rendered, to be kept as `plots/<name>.png` and, of a split, in TensorBoard.

        It is there after `keep_rendered` or `close` at the latest.
        """
        self._begun.append((name, split, step, self._renderer.begin(figure)))
        self.keep_rendered(wait=False)

    def keep_rendered(self, wait: bool = True) -> None:
        """Keeps the figures that are rendered, or all where they are waited for."""
        while self._begun and (wait or self._begun[0][-1].done()):
            name, split, step, result = self._begun.popleft()
            with self._tolerant(f"the plot {name}"):
                rendered = result.result()
                with replacing(self._plot(name)) as temporary:
                    temporary.write_bytes(rendered.whole)
                if split:
                    self._summaries.encoded_image(split, name, rendered.halved, rendered.size, step)

    def _curves_figure(self, history: Sequence[Epoch]) -> None:
        """Has the curves drawn; TensorBoard has its own, which can be looked into."""
        self.images("curves", plots.curves(history), history[-1].step, split=None)

    def validated(self, predictions: Predictions, step: int) -> None:
        """Shows predictions for validation images: for a fixed few, and the worst mistakes."""
        with self._tolerant("the summaries"):
            for tag, positions in (
                ("predictions", predictions.first(SHOWN)),
                ("mistakes", predictions.worst_mistakes(SHOWN)),
            ):
                drawn = tiles(predictions.pixels(positions), *predictions.words(positions))
                self._summaries.image("validation", tag, drawn, step)
            self._precision_recall("validation", predictions, step)

    def epoch(self, history: Sequence[Epoch], last_epoch: int, skipped: int) -> None:
        """Reports the newest epoch of a history.

        Args:
            history: the epochs so far.
            last_epoch: with which its phase ends.
            skipped: updates left out so far.
        """
        row = history[-1]
        say(_line(row, last_epoch) + (f"  updates left out: {skipped}" if skipped else ""))
        with self._tolerant("the history"):
            write_history(self._folder / "history.csv", history)
        with self._tolerant("the summaries"):
            self._reopen(row.step)
            for each in history:  # those that are there already are not written twice
                self._curves(each)
        self._curves_figure(history)
        self.flush()

    def test(self, predictions: Predictions, figures: Mapping[str, Any], step: int) -> None:
        """Reports the result on the test set, reached at a step; what is no number is left out."""
        numbers = {name: figure for name, figure in figures.items() if isinstance(figure, float)}
        with self._tolerant("the summaries"):
            self._summaries.scalars("test", step, numbers)
            self._precision_recall("test", predictions, step)

    def _plot(self, name: str) -> Path:
        return self._folder / "plots" / f"{name}.png"

    def _precision_recall(self, split: str, predictions: Predictions, step: int) -> None:
        if len(predictions.classes) == 2:
            positive, scores = predictions.labels == 1, predictions.probabilities[:, 1]
            description = f"positive: {predictions.classes[1]}"
        else:
            positive = predictions.labels[:, np.newaxis] == np.arange(len(predictions.classes))
            scores = predictions.probabilities
            description = "each class against all others, pooled"
        self._summaries.precision_recall(split, positive, scores, description, step)

    def _curves(self, row: Epoch) -> None:
        """Adds an epoch to the curves."""
        if row.epoch > 0:
            self._summaries.scalars(
                "train",
                row.step,
                {
                    "loss": row.train_loss,
                    "accuracy": row.train_accuracy,
                    "learning_rate": row.learning_rate,
                    "images_per_second": row.images_per_second,
                },
            )
        self._summaries.scalars(
            "validation",
            row.step,
            {"loss": row.validation_loss, "accuracy": row.validation_accuracy},
        )

    def _reopen(self, step: int) -> None:
        """Begins new event files after a failure: of the old ones, all before it can be read."""
        if self._torn:
            torn = self._summaries  # in use still if the new ones cannot be begun
            self._summaries = Summaries(self._folder / "tensorboard", resume_step=step)
            self._torn = False
            with contextlib.suppress(OSError, tf.errors.OpError):
                torn.close()

    @contextlib.contextmanager
    def _tolerant(self, what: str) -> Iterator[None]:
        """Turns a failure to write into a warning."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._torn = True
            say(f"warning: {what} could not be written ({reason(error)})")

    def flush(self) -> None:
        """Called before a checkpoint or a result: what they say is done must be there."""
        with self._tolerant("the summaries"):
            self._summaries.flush()

    def close(self) -> None:
        """Writes what is left."""
        try:
            self.keep_rendered()
        finally:
            self._renderer.close()
            with self._tolerant("the summaries"):
                self._summaries.close()


class Unreported:
    """Reports of a worker that has none, as the chief's are those of the run."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def _line(row: Epoch, last_epoch: int) -> str:
    validation = f"validation loss {row.validation_loss:.4f} accuracy {row.validation_accuracy:.4f}"
    if row.epoch == 0:
        return f"before training        {'':38}{validation}"
    left = duration((last_epoch - row.epoch) * row.seconds)
    return (
        f"{row.phase:<8} epoch {row.epoch:>3}/{last_epoch:<3}"
        f"  train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}"
        f"  {validation}  {row.images_per_second:.0f} images/s  {left} left"
    )
