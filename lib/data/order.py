"""The order of training images: a batch is addressed by its step number."""

import numpy as np

from lib.randomness import permutation


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches `count` images make; the last one may be smaller."""
    return -(-count // batch_size)


def batch_positions(step: int, count: int, batch_size: int, seed: int) -> np.ndarray:
    """Positions of a step's images within the training split, int64 [at most batch_size].

    A function of its arguments alone: each epoch is a permutation given by (seed, epoch), and a
    batch is a slice of it. Nothing has to be replayed to arrive at a step.

    Args:
        step: number of the training step, from 0, counted over all epochs and phases.
        count: images in the training split.
        batch_size: images per step.
        seed: the run's seed.
    """
    epoch, batch = divmod(step, steps_per_epoch(count, batch_size))
    return permutation(count, seed, epoch)[batch * batch_size : (batch + 1) * batch_size]
