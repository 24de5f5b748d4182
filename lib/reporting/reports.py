"""What a run shows to people, and when: lines, plots, TensorBoard, tables."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from matplotlib.figure import Figure

from lib.model.freezing import Row, as_markdown, as_text
from lib.reporting import plots
from lib.reporting.history import Epoch, write_history
from lib.reporting.progress import duration, say
from lib.reporting.tensorboard import Summaries


class Reports:
    """Where a run is reported: `plots/`, `tensorboard/` and `history.csv` in its folder.

    What cannot be written is said, and training goes on: only checkpoints are worth a stop.

    Args:
        folder: of the run.
        step: the step that the run goes on from.
        history: the epochs before it.
    """

    def __init__(self, folder: Path, step: int, history: Sequence[Epoch]):
        self._folder = folder
        self._summaries = Summaries(folder / "tensorboard", resume_step=step)
        write_history(folder / "history.csv", history)

    def configuration(self, values: Mapping[str, Any]) -> None:
        """Shows what the run is, as a text."""
        with _tolerant("the configuration"):
            text = json.dumps(values, indent=2, ensure_ascii=False)
            self._summaries.text("train", "configuration", f"```\n{text}\n```", step=0)

    def layers(self, phase: str, rows: Sequence[Row], step: int) -> None:
        """Shows what is frozen and what is trained in a phase."""
        say(f"\nPhase {phase}:\n{as_text(rows)}\n")
        with _tolerant("the layer table"):
            self._summaries.text("train", f"layers/{phase}", as_markdown(rows), step)

    def pictures(self, name: str, figure: Figure, step: int) -> None:
        """Keeps a figure as `plots/<name>.png` and in TensorBoard."""
        with _tolerant(f"the plot {name}"):
            plots.save(figure, self._folder / "plots" / f"{name}.png")
            self._summaries.figure(name, figure, step)

    def epoch(self, history: Sequence[Epoch], last_epoch: int) -> None:
        """Reports the newest epoch of a history, whose phase ends with `last_epoch`."""
        row = history[-1]
        say(_line(row, last_epoch))
        with _tolerant("the history"):
            write_history(self._folder / "history.csv", history)
        with _tolerant("the summaries"):
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
        self.pictures("curves", plots.curves(history), row.step)
        with _tolerant("the summaries"):
            # Before the checkpoint of this step: what it says is done must be there.
            self._summaries.flush()

    def test(self, step: int, loss: float, accuracy: float) -> None:
        """Reports the result on the test set."""
        with _tolerant("the summaries"):
            self._summaries.scalars("test", step, {"loss": loss, "accuracy": accuracy})

    def close(self) -> None:
        """Writes what is left."""
        with _tolerant("the summaries"):
            self._summaries.close()


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


@contextlib.contextmanager
def _tolerant(what: str) -> Iterator[None]:
    """Turns a failure to write into a warning."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        say(f"warning: {what} could not be written ({' '.join(str(error).split())})")
