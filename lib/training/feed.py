"""Batches for the network: step number to features and targets, computed ahead of the loop."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lib.data.augmentation import Augmentation
from lib.data.dataset import Subset
from lib.data.examples import Examples, one_hot_targets, target_columns
from lib.data.order import batch_positions, steps_per_epoch
from lib.distribution.workers import SINGLE, Workers
from lib.model.engine import Engine
from lib.system.prefetching import begun, prefetched
from lib.system.progress import bar
from lib.training.shared_features import NOTHING_SHARED, SharedFeatures
from lib.training.slices import Slices

_VALIDATION = "validation images"  # what shared features are of


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        features: of the images, at the network's cut, float32 [n, ...].
        targets: float32 [n, 1] or [n, classes], as the augmentation leaves them.
        images: in the whole batch, of which this is the part of one worker.
    """

    features: tf.Tensor
    targets: tf.Tensor
    images: int


class EvaluationBatch(NamedTuple):
    """What an evaluation sees.

    Attributes:
        features: of the images, at the network's cut, float32 [n or more, ...].
        labels: int32 [n], indices of classes.
    """

    features: tf.Tensor
    labels: tf.Tensor


class TrainingFeed:
    """Batches of the training split, addressed by step number.

    Args:
        subset: the training split.
        engine: computes the features.
        batch_size: images per step.
        seed: the run's seed.
        augmentation: how the images are varied.
        slices: which of a batch are computed here.

    Attributes:
        examples: images in the split.
        epoch_steps: batches in an epoch.
        columns: numbers in the target of an example.
        feature_shape: of the features of an example.
        room: how many examples of a batch are computed here at most.
    """

    def __init__(
        self,
        subset: Subset,
        engine: Engine,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        slices: Slices,
    ):
        self._subset = subset
        self._engine = engine
        self._batch_size = batch_size
        self._seed = seed
        self._augmentation = augmentation
        self._slices = slices
        self.room = slices.size * len(slices.mine)
        self.examples = len(subset)
        self.epoch_steps = steps_per_epoch(len(subset), batch_size)
        self.columns = target_columns(len(subset.classes))
        self.feature_shape = tuple(engine.signature.shape[1:])

    def positions(self, step: int) -> np.ndarray:
        """Which images of the split a step sees, int64 [n]."""
        return batch_positions(step, self.examples, self._batch_size, self._seed)

    def mine(self, step: int) -> np.ndarray:
        """Which of these are computed here: those of this worker's slices."""
        first = self._slices.first
        return self.positions(step)[first : first + self.room]

    def batch(self, step: int) -> Batch:
        """What the step of that number sees: a function of the number alone."""
        positions = self.positions(step)
        parts = augmented(self._subset, positions, self._slices, self._augmentation, step)
        if not parts:
            empty = tf.zeros((0, *self.feature_shape)), tf.zeros((0, self.columns))
            return Batch(*empty, len(positions))
        images, targets = ([each[i] for each in parts] for i in range(2))
        if self._engine.by_image:
            features = self._engine.prefix(tf.concat(images, 0))
        else:
            features = tf.concat([self._engine.prefix(each) for each in images], 0)
        return Batch(features, tf.concat(targets, 0), len(positions))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps from `first` up to, but not including, `last`."""
        return prefetched(self.batch, range(first, last))


class EvaluationFeed:
    """All batches of a split in its order, never augmented.

    The last one has features beyond its labels: it is filled up, so that the answer for an
    image is the same to the last bit in whichever batch and split it is.

    The features do not change while the prefix does not, so they are kept if they fit.

    Args:
        subset: the split.
        engine: computes the features.
        batch_size: images per batch.
        memory_mb: budget for keeping features, in MiB.
        workers: that share the batches out, one to each in turn.
        shared: features that other runs may have computed, where this is the only worker.

    Attributes:
        examples: images in the split.
        labels: of all of them.
        columns: logits of an image.
        batch_size: images per batch.
    """

    def __init__(
        self,
        subset: Subset,
        engine: Engine,
        batch_size: int,
        memory_mb: int,
        workers: Workers = SINGLE,
        shared: SharedFeatures = NOTHING_SHARED,
    ):
        self._subset = subset
        self._engine = engine
        self._shared = shared
        self.batch_size = batch_size
        self._mine = range(workers.index * batch_size, len(subset), workers.count * batch_size)
        self.labels = subset.labels
        self.columns = target_columns(len(subset.classes))
        self._fits = (
            4 * engine.signature.shape[1:].num_elements() * len(subset) <= memory_mb * 2**20
        )
        self._kept = self._left_by_others() if self._fits else []
        self._begun: Iterator[EvaluationBatch] | None = None
        self.examples = len(subset)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        if self._kept or not self._mine:
            return iter(self._kept)
        batches, self._begun = self._begun or prefetched(self._batch, self._mine), None
        return self._keeping(batches) if self._fits else batches

    def begin(self) -> None:
        """Begins to compute what is kept, while the caller does something else."""
        if self._fits and not self._kept:
            self._begun = begun(self._batch, self._mine)

    def prepare(self, check_stop: Callable[[], None]) -> None:
        """Computes now what is kept, so that the first pass takes no longer than the next.

        Args:
            check_stop: raises `Stopped` when the run was asked to stop; called between batches.
        """
        if self._fits and not self._kept:
            images = min(self.examples, len(self._mine) * self.batch_size)
            with bar("validation features", images, "images") as advance:
                for batch in self:
                    advance(len(batch.labels))
                    check_stop()

    def _left_by_others(self) -> list[EvaluationBatch]:
        """All batches, as another run left their features; empty where none did."""
        features = self._shared.load(_VALIDATION) or []
        starts = zip(features, self._mine, strict=bool(features))
        return [EvaluationBatch(tf.constant(f), self._labels(at)) for f, at in starts]

    def _batch(self, start: int) -> EvaluationBatch:
        images = filled_up(self._subset.pixels(self._positions(start)), self.batch_size)
        return EvaluationBatch(self._engine.prefix(images), self._labels(start))

    def _positions(self, start: int) -> np.ndarray:
        return np.arange(start, min(start + self.batch_size, len(self._subset)))

    def _labels(self, start: int) -> tf.Tensor:
        return tf.constant(self._subset.labels[self._positions(start)])

    def _keeping(self, batches: Iterator[EvaluationBatch]) -> Iterator[EvaluationBatch]:
        seen = []
        for batch in batches:
            seen.append(batch)
            yield batch
        self._kept = seen
        self._shared.save(_VALIDATION, *(batch.features.numpy() for batch in seen))


def augmented(
    subset: Subset, positions: np.ndarray, slices: Slices, augmentation: Augmentation, step: int
) -> list[Examples]:
    """Images of a split as the training step of that number sees them, slice by slice.

    A slice is augmented by itself: images are mixed with those of the same one. It is filled up to
    the size of a slice, as augmentation is compiled for each shape that it meets; those that are
    mixed into the last ones are real images too.

    Args:
        subset: the split.
        positions: of the images of the whole batch.
        slices: which of it are wanted.
        augmentation: how they are varied.
        step: of training.

    Returns:
        The examples of each slice that has any.
    """
    found = []
    for part in slices.parts(len(positions)):
        mine = positions[part.start : part.stop]
        images = filled_up(subset.pixels(mine), slices.size)
        labels = filled_up(subset.labels[mine], slices.size)
        targets = one_hot_targets(labels, len(subset.classes))
        varied = augmentation(images, targets, step, part.start)
        found.append(Examples(*(each[: len(mine)] for each in varied)))
    return found


def filled_up(values: np.ndarray, count: int) -> np.ndarray:
    """Values [n, ...], repeated from the first one on up to a number of `count`."""
    return np.resize(values, (count, *values.shape[1:]))
