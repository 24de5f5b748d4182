"""Summaries for TensorBoard: curves, images and texts, without a seam where a run has stopped."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MultilineChartContent,
)
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.pr_curve import summary as pr_curve

from lib.reporting.plots import png
from lib.system import fault_points
from lib.system.atomic import replacing
from lib.system.literal import literal

SPLITS = ("train", "validation", "test")

# The charts of the custom scalars tab; each shows its tag for all splits and runs.
_CHARTS = {
    "Learning": ("loss", "accuracy"),
    "Within the epochs": ("step/loss", "step/accuracy", "step/gradient_norm", "step/learning_rate"),
    "Pace": ("learning_rate", "images_per_second"),
}

# Sorts before the files of tf.summary (named by the time), and TensorBoard reads in that order.
_KEPT = "events.out.tfevents.0.kept"


class Summaries:
    """The summaries of one run in `folder`/{train,validation,test}, from `resume_step` on.

    A killed run leaves points behind that the resumed one will make again, and perhaps half a
    record. Opening drops every point after `resume_step`, and a point at or before it that is there
    already is not written a second time, so each series has each of its points once. For none to be
    missing, call `flush` before the checkpoint of that step is written.

    The splits share their tags ("loss", "accuracy", ...), so TensorBoard overlays their curves.
    What is of the run as a whole is in `folder` itself (`describe`).

        with Summaries(workdir / "tensorboard", resume_step=0) as summaries:
            summaries.scalars("train", 63, {"loss": 0.41, "accuracy": 0.83})

    Args:
        folder: the log directory; only one process may have it open.
        resume_step: the step of the checkpoint the run goes on from; below 0 nothing is kept.

    Raises:
        OSError, tf.errors.OpError: a file cannot be read or written. Methods raise these too.
    """

    def __init__(self, folder: Path, resume_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        # To be read by TensorFlow until `close`, as its writers look for their files again.
        self._literal = contextlib.ExitStack()
        self._folder = folder = self._literal.enter_context(literal(folder))
        self._points = {split: _keep_until(folder / split, resume_step) for split in SPLITS}
        self._writers = {
            split: tf.summary.create_file_writer(str(folder / split)) for split in SPLITS
        }

    def describe(self, name: str, text: str, flags: Mapping[str, bool | float | str]) -> None:
        """Says what the run is, once per start.

        Args:
            name: of the run, another one for each.
            text: the configuration, as Markdown.
            flags: what the HParams tab compares runs by.
        """
        charts = [
            Category(
                title=title,
                chart=[Chart(title=tag, multiline=_multiline(tag)) for tag in tags],
            )
            for title, tags in _CHARTS.items()
        ]
        _keep_until(self._folder, resume_step=-1)  # of an earlier start, with other flags perhaps
        writer = tf.summary.create_file_writer(str(self._folder))
        with writer.as_default(step=0):
            tf.summary.text("configuration", _utf8(text))
            shown = {
                flag: _utf8(value) if isinstance(value, str) else value
                for flag, value in flags.items()
            }
            for summary in (
                custom_scalar.pb(Layout(category=charts)),
                hparams.hparams_pb(shown, trial_id=_utf8(name)),
            ):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString())
        writer.close()

    def scalars(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Adds one point to the series of each tag in `values`."""
        with self._writers[split].as_default(step=step):
            for tag, value in values.items():
                if self._is_new(split, tag, step):
                    tf.summary.scalar(tag, value)

    def image(self, split: str, tag: str, pixels: np.ndarray, step: int) -> None:
        """Adds an image, uint8 [height, width, 3]."""
        if not self.has(split, tag, step):
            image = Image.fromarray(pixels)
            self.encoded_image(split, tag, png(image), image.size, step)

    def encoded_image(
        self, split: str, tag: str, encoded: bytes, size: tuple[int, int], step: int
    ) -> None:
        """Adds an image that is the bytes of a PNG file, of that width and height in pixels.

        In the form of `tf.summary.image`, which compresses so hard that an image takes 0.2 s.
        """
        if self._is_new(split, tag, step):
            metadata = create_summary_metadata(display_name=None, description=None)
            with self._writers[split].as_default(step=step):
                content = [*map(str, size), encoded]
                tf.summary.write(tag, tf.constant(content), metadata=metadata)

    def text(self, split: str, tag: str, markdown: str, step: int) -> None:
        """Adds a text, which TensorBoard shows as Markdown."""
        if self._is_new(split, tag, step):
            with self._writers[split].as_default(step=step):
                tf.summary.text(tag, markdown)

    def precision_recall(
        self, split: str, positive: np.ndarray, scores: np.ndarray, description: str, step: int
    ) -> None:
        """Adds a precision-recall curve.

        Args:
            split: the images' split.
            positive: bool, of any shape.
            scores: float of that shape, in [0, 1].
            description: what counts as positive, shown on demand.
            step: of the weights.
        """
        scores = np.nan_to_num(scores)  # of a network that has overflowed
        summary = pr_curve.pb("precision_recall", positive, scores, description=description)
        if self._is_new(split, summary.value[0].tag, step):
            with self._writers[split].as_default(step=step):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString())

    def histograms(self, split: str, values: Mapping[str, np.ndarray], step: int) -> None:
        """Adds the distribution of the numbers of each tag in `values`."""
        with self._writers[split].as_default(step=step):
            for tag, numbers in values.items():
                if self._is_new(split, tag, step):
                    tf.summary.histogram(tag, numbers)

    def graph(self, split: str, tag: str, graph: tf.Graph, step: int) -> None:
        """Adds the graph of a function.

        In the form that `tf.summary.trace_export` has, which is a summary with a tag and a step,
        where `tf.summary.graph` would leave one nameless graph per run.
        """
        if self._is_new(split, tag, step):
            metadata = tf.compat.v1.SummaryMetadata()
            metadata.plugin_data.plugin_name = "graph_run_metadata_graph"
            metadata.plugin_data.content = b"1"  # version of the form
            content = tf.compat.v1.RunMetadata()
            content.function_graphs.add().pre_optimization_graph.CopyFrom(graph.as_graph_def())
            with self._writers[split].as_default(step=step):
                tf.summary.write(tag, content.SerializeToString(), metadata=metadata)

    def flush(self) -> None:
        """Returns once everything so far is in the files, where a kill no longer harms it."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Writes what is left and closes the files."""
        with self._literal:
            for writer in self._writers.values():
                writer.close()

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, split: str, tag: str, step: int) -> bool:
        """Whether a point is there, of this start or an earlier one."""
        return (tag, step) in self._points[split]

    def _is_new(self, split: str, tag: str, step: int) -> bool:
        if self.has(split, tag, step):
            return False
        self._points[split].add((tag, step))
        return True


def _utf8(text: str) -> str:
    """The text with what UTF-8 cannot hold, the odd byte of a path, as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _multiline(tag: str) -> MultilineChartContent:
    return MultilineChartContent(tag=[f"^{tag}$"])


def _keep_until(folder: Path, resume_step: int) -> set[tuple[str, int]]:
    """Reduces the event files in a folder to one without the points after `resume_step`.

    The new file is complete before an old one goes. A kill in between leaves points twice, in the
    new and in an old file, until the next opening, which sees each (tag, step) once.
    """
    old = sorted(folder.glob("*tfevents*"))
    points = {}
    for path in old:
        # Of the record a kill cut short, always the last, nothing comes: it was never flushed, so
        # no checkpoint is as late as its step, and the resumed run makes its point again.
        for record in RawEventFileLoader(str(path)).Load():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if event.step <= resume_step:
                    summary = tf.compat.v1.Summary(value=[value])
                    points[value.tag, event.step] = tf.compat.v1.Event(
                        wall_time=event.wall_time, step=event.step, summary=summary
                    )
    if old:
        began = min((event.wall_time for event in points.values()), default=0.0)
        version = tf.compat.v1.Event(wall_time=began, file_version="brain.Event:2")
        # Under a name that TensorBoard does not read, until it is whole.
        complete = folder / "kept"
        with replacing(complete) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for event in [version, *points.values()]:
                writer.write(event.SerializeToString())
        os.replace(complete, folder / _KEPT)
        fault_points.point("tensorboard")
    for path in old:
        if path.name != _KEPT:
            path.unlink()
    return set(points)
