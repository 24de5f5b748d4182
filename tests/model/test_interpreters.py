import numpy as np
import pytest
import tensorflow as tf

from lib.model.interpreters import converted, interpreted

SIDE = 4


def graph(part, shape):
    return tf.function(part).get_concrete_function(tf.TensorSpec(shape, tf.float32))


def program(threads):
    """Doubles images one by one; says of each its mean, and how many went on together."""
    doubled = graph(lambda images: 2.0 * images, (1, SIDE, SIDE, 3))

    def averaged(maps):
        count = tf.cast(tf.shape(maps)[0], tf.float32)
        means = tf.reduce_mean(maps, axis=(1, 2, 3))
        return tf.stack([means, tf.fill(tf.shape(means), count)], axis=1)

    means = graph(averaged, (None, SIDE, SIDE, 3))
    return interpreted([converted(doubled), converted(means)], threads)


def images(count):
    return (
        np.ones((count, SIDE, SIDE, 3), np.uint8)
        * np.arange(count, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
    )


@pytest.mark.parametrize(
    ("count", "threads", "groups"),
    [
        (1, 2, [1]),
        (5, 2, [2, 2, 1]),  # something for each thread
        (16, 2, [8, 8]),
        (20, 2, [8, 8, 4]),  # no more than eight
        (20, 1, [8, 8, 4]),
        (3, 8, [1, 1, 1]),
    ],
)
def test_images_stay_in_order_and_go_on_in_groups(count, threads, groups):
    features = program(threads)(images(count)).numpy()
    np.testing.assert_allclose(features[:, 0], 2.0 * np.arange(count), rtol=1e-6)
    together = [size for size in groups for _ in range(size)]
    assert features[:, 1].tolist() == together


def test_a_program_serves_any_numbers_of_images_in_turn():
    features = program(threads=2)
    for count in (20, 1, 7, 20):
        np.testing.assert_allclose(features(images(count))[:, 0], 2.0 * np.arange(count))
