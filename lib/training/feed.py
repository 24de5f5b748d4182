"""What the network is fed: step number to features and labels, computed ahead of the loop."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lib.ahead import ahead
from lib.data.augment import augment
from lib.data.dataset import Subset
from lib.data.order import batch_positions, steps_per_epoch
from lib.model.engine import Engine
from lib.reporting.progress import bar


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        features: of the pictures, at the network's cut, float32 [n, ...].
        labels: int32 [n], indices of classes.
    """

    features: tf.Tensor
    labels: tf.Tensor


class TrainingFeed:
    """Batches of the training split, addressed by step number.

    Args:
        subset: the training split.
        engine: computes the features.
        batch_size: pictures a step.
        seed: the run's seed.
        rotation: of the augmentation, as a part of a turn.

    Attributes:
        examples: pictures in the split.
        epoch_steps: batches in an epoch.
    """

    def __init__(self, subset: Subset, engine: Engine, batch_size: int, seed: int, rotation: float):
        self._subset = subset
        self._engine = engine
        self._batch_size = batch_size
        self._seed = seed
        self._rotation = rotation
        self.examples = len(subset)
        self.epoch_steps = steps_per_epoch(len(subset), batch_size)

    def positions(self, step: int) -> np.ndarray:
        """Which pictures of the split a step sees, int64 [n]."""
        return batch_positions(step, self.examples, self._batch_size, self._seed)

    def labels(self, positions: np.ndarray) -> tf.Tensor:
        """The classes of pictures of the split, int32 [n]."""
        return tf.constant(self._subset.labels[positions])

    def batch(self, step: int) -> Batch:
        """What the step of that number sees: a function of the number alone."""
        positions = self.positions(step)
        pictures = self._subset.pixels(positions)
        # Filled up, as augmentation is compiled for each shape that it meets.
        filled = filled_up(pictures, self._batch_size)
        varied = augment(filled, self._seed, step, self._rotation)[: len(pictures)]
        return Batch(self._engine.prefix(varied), self.labels(positions))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps from `first` up to, but not including, `last`."""
        return ahead(self.batch, range(first, last))


class EvaluationFeed:
    """All batches of a split in its order, never augmented.

    The last one has features beyond its labels: it is filled up, so that what the network says of a
    picture is the same to the last bit in whichever batch and split it is.

    The features do not change while the prefix does not, so they are kept if they fit.

    Args:
        subset: the split.
        engine: computes the features.
        batch_size: pictures a batch.
        memory_mb: budget for keeping features, in MiB.

    Attributes:
        examples: pictures in the split.
    """

    def __init__(self, subset: Subset, engine: Engine, batch_size: int, memory_mb: int):
        self._subset = subset
        self._engine = engine
        self._batch_size = batch_size
        self._fits = (
            4 * engine.signature.shape[1:].num_elements() * len(subset) <= memory_mb * 2**20
        )
        self._kept: list[Batch] = []
        self.examples = len(subset)

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            return iter(self._kept)
        starts = range(0, len(self._subset), self._batch_size)
        batches = ahead(self._batch, starts)
        return self._keeping(batches) if self._fits else batches

    def prepare(self, heed: Callable[[], None]) -> None:
        """Computes now what is kept, so that the first pass takes no longer than the next.

        Args:
            heed: raises `Stopped` when the run was asked to stop; called between batches.
        """
        if self._fits and not self._kept:
            with bar("validation features", self.examples, "pictures") as advance:
                for batch in self:
                    advance(len(batch.labels))
                    heed()

    def _batch(self, start: int) -> Batch:
        positions = np.arange(start, min(start + self._batch_size, len(self._subset)))
        pictures = filled_up(self._subset.pixels(positions), self._batch_size)
        return Batch(self._engine.prefix(pictures), tf.constant(self._subset.labels[positions]))

    def _keeping(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        seen = []
        for batch in batches:
            seen.append(batch)
            yield batch
        self._kept = seen


def filled_up(pictures: np.ndarray, count: int) -> np.ndarray:
    """Pictures [n, size, size, 3], and black ones after them up to a number of `count`."""
    return np.pad(pictures, [(0, count - len(pictures)), (0, 0), (0, 0), (0, 0)])
