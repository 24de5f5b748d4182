"""Random numbers without state: the same (seed, name, step) always gives the same numbers."""

import functools
import hashlib

import numpy as np
import tensorflow as tf


def uniform(shape, seed: int, name: str, step: tf.Tensor | int) -> tf.Tensor:
    """Uniform numbers in [0, 1), as a pure function of the arguments.

    The counter-based Philox generator is named, as TensorFlow's own choice depends on the device
    (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    Args:
        shape: of the result. The first numbers do not depend on how many are drawn.
        seed: the run's seed.
        name: what the numbers are for, such as "dropout". The key is a hash of it, so that a new
            name changes nobody else's numbers.
        step: the training step, an integer scalar.

    Returns:
        float32 of `shape`.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    key = tf.constant(int.from_bytes(digest[:8], "little", signed=True), tf.int64)
    return tf.random.stateless_uniform(
        shape, tf.stack([key, tf.cast(step, tf.int64)]), alg="philox"
    )


@functools.lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers below `count`, int64 [count], in an order that the arguments alone decide.

    Sorting raw Philox output rests on NumPy's promise that a bit generator's stream never changes;
    `Generator.permutation` carries no such promise.
    """
    draws = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    order = np.argsort(draws, kind="stable")
    order.flags.writeable = False  # it is shared by all who ask again
    return order
