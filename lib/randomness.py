"""Random numbers without state: the same (seed, stream, step) always gives the same numbers."""

import functools

import numpy as np
import tensorflow as tf


def uniform(shape, seed: int, name: str, step: tf.Tensor | int) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32 of `shape`, as a pure function of the arguments.

    The counter-based Philox generator is named, as TensorFlow's own choice depends on the device
    (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
    """
    # Another stream would change every run's numbers: the key counts them.
    import hashlib

    k = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
    key = tf.stack([tf.constant(k, tf.int64), tf.cast(step, tf.int64)])
    return tf.random.stateless_uniform(shape, key, alg="philox")


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
