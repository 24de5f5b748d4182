import numpy as np
import tensorflow as tf

from lib.randomness import uniform
from lib.training.slice_step import drop


def test_dropout_has_a_stream_of_its_own():
    """A mask that followed the augmentation's numbers would drop by how an image is turned."""
    ones, step = tf.ones((2, 64)), tf.constant(2, tf.int64)
    kept = drop(ones, 0.5, 1, step).numpy() > 0
    np.testing.assert_array_equal(kept, uniform((2, 64), 1, "dropout", step).numpy() >= 0.5)
    # Of independent masks of 128 each, about half agree.
    for name in ("augment/flip/0/0", "augment/rotate/0/0"):
        other = uniform((2, 64), 1, name, step).numpy() >= 0.5
        assert 40 < np.sum(kept == other) < 88
