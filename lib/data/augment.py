"""How training pictures are varied: a random flip and rotation, in one interpolation.

Written out, rather than left to TensorFlow's projective transform, because XLA fuses it into one
loop: a quarter of the processor time.
"""

import math

import numpy as np
import tensorflow as tf

from lib.randomness import uniform


def augment(
    pictures: np.ndarray | tf.Tensor,
    seed: int,
    step: int | tf.Tensor,
    rotation: float,
    first: int = 0,
) -> tf.Tensor:
    """Flips half of the pictures left to right and rotates each about its centre.

    What happens to a picture is a function of (seed, step, position in the batch), so that a slice
    of a batch is augmented as within the whole.

    Args:
        pictures: [n, size, size, 3], uint8 or float32, 0 to 255. Each shape is compiled once.
        seed: the run's seed.
        step: the training step.
        rotation: largest rotation either way, as a part of a turn. What comes in from outside the
            picture is reflected at its border.
        first: position of the first picture within the global batch.

    Returns:
        float32 [n, size, size, 3], 0 to 255.
    """
    # A prefix of the Philox stream does not depend on how much is drawn from it.
    draws = uniform([first + len(pictures), 2], seed, "augment", step)[first:]
    mirror = tf.where(draws[:, 0] < 0.5, -1.0, 1.0)
    angle = (2.0 * draws[:, 1] - 1.0) * (rotation * 2.0 * math.pi)
    return _varied(pictures, mirror, angle)


@tf.function(jit_compile=True, autograph=False)
def _varied(pictures: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    # The random numbers are drawn outside, as XLA's Philox orders them in another way.
    return _looked_up(pictures, *_sources(mirror, angle, pictures.shape[1]))


def _sources(mirror: tf.Tensor, angle: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Where each pixel of the result comes from.

    Args:
        mirror: float32 [n], -1 where a picture is flipped, else 1.
        angle: float32 [n], in radians.
        size: of the pictures, in pixels.

    Returns:
        Column and row, float32 [n, size, size] each, from -0.5 to size - 0.5.
    """
    offsets = tf.range(size, dtype=tf.float32) - (size - 1) / 2
    across, down = offsets[tf.newaxis, tf.newaxis, :], offsets[tf.newaxis, :, tf.newaxis]
    cosine, sine = (
        tf.cos(angle)[:, tf.newaxis, tf.newaxis],
        tf.sin(angle)[:, tf.newaxis, tf.newaxis],
    )
    columns = mirror[:, tf.newaxis, tf.newaxis] * (cosine * across - sine * down)
    rows = sine * across + cosine * down
    return _reflected(columns + (size - 1) / 2, size), _reflected(rows + (size - 1) / 2, size)


def _reflected(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Folds positions outside of a picture back into it, its outer border being the mirror.

    Once at each border is enough: a square turned about its centre reaches out by less than itself.
    """
    from_left = tf.abs(positions + 0.5)
    return size - tf.abs(size - from_left) - 0.5


def _looked_up(pictures: tf.Tensor, columns: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Bilinear interpolation of pictures [n, size, size, 3] at positions [n, size, size]."""
    count, size = tf.shape(pictures)[0], pictures.shape[1]
    pixels = tf.reshape(tf.cast(pictures, tf.float32), [-1, 3])
    start = (tf.range(count) * size * size)[:, tf.newaxis, tf.newaxis]
    left, top = tf.floor(columns), tf.floor(rows)
    right_share, bottom_share = (columns - left)[..., tf.newaxis], (rows - top)[..., tf.newaxis]

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        row = tf.clip_by_value(tf.cast(row, tf.int32), 0, size - 1)
        column = tf.clip_by_value(tf.cast(column, tf.int32), 0, size - 1)
        return tf.gather(pixels, start + row * size + column)

    above = at(top, left) * (1.0 - right_share) + at(top, left + 1) * right_share
    below = at(top + 1, left) * (1.0 - right_share) + at(top + 1, left + 1) * right_share
    return above * (1.0 - bottom_share) + below * bottom_share


from typing import NamedTuple

from lib.specs import Registry

OPERATIONS = Registry("operation")


class Examples(NamedTuple):
    images: object
    targets: object


@OPERATIONS.register
def rotate(examples, draw, most=0.2):
    return examples


class Augmentation:
    def __init__(self, text, seed):
        self.seed = seed

    def __call__(self, images, targets, step, first=0):
        return Examples(augment(images, self.seed, step, 0.2, first), targets)


def one_hot_targets(labels, classes):
    return tf.cast(labels[:, None], tf.float32) if classes == 2 else tf.one_hot(labels, classes)
