"""How training pictures are varied: a random flip and rotation, in one interpolation."""

import math

import tensorflow as tf

from lib.randomness import Stream, uniform


def augment(
    pictures: tf.Tensor, seed: int, step: tf.Tensor, rotation: float, first: tf.Tensor | int = 0
) -> tf.Tensor:
    """Flips half of the pictures left to right and rotates each about its centre.

    What happens to a picture is a function of (seed, step, position in the batch), so that a slice
    of a batch is augmented as within the whole.

    Args:
        pictures: [n, size, size, 3], uint8 or float32, 0 to 255.
        seed: the run's seed.
        step: int64 scalar.
        rotation: largest rotation either way, as a part of a turn. What comes in from outside the
            picture is reflected at its border.
        first: position of the first picture within the global batch.

    Returns:
        float32 [n, size, size, 3], 0 to 255.
    """
    count = tf.shape(pictures)[0]
    # A prefix of the Philox stream does not depend on how much is drawn from it.
    draws = uniform([first + count, 2], seed, Stream.AUGMENTATION, step)[first:]
    mirror = tf.where(draws[:, 0] < 0.5, -1.0, 1.0)
    angle = (2.0 * draws[:, 1] - 1.0) * (rotation * 2.0 * math.pi)
    return _turned(tf.cast(pictures, tf.float32), mirror, angle)


def _turned(pictures: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Rotation by `angle` (radians) about the centre after scaling x by `mirror` (1 or -1)."""
    size = pictures.shape[1]
    centre = (size - 1) / 2
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # Each output (x, y) is looked up at (a0 x + a1 y + a2, b0 x + b1 y + b2) of the input.
    a0, a1, b0, b1 = mirror * cosine, -mirror * sine, sine, cosine
    a2 = centre - a0 * centre - a1 * centre
    b2 = centre - b0 * centre - b1 * centre
    zeros = tf.zeros_like(angle)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, zeros, zeros], axis=1),
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
