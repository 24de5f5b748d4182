"""Geometric operations as matrices, so that any number of them costs one interpolation.

The interpolation is written out, rather than left to TensorFlow's projective transform, because XLA
fuses it into one loop: a quarter of the processor time.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from lib.data.examples import Examples


class Geometry(NamedTuple):
    """Where the pixels of the result come from: what a geometric operation returns.

    Attributes:
        matrix: float32 [n, 2, 3]. Pixel (column, row) of the result is taken from
            `matrix @ (column, row, 1)`, in pixels from the centre of the image.
        then: what is done to the examples after the interpolation, if anything.
        whole: whether the result, of whatever size, shows all that the matrix spans of an image;
            else it is its middle, pixel by pixel.
    """

    matrix: tf.Tensor
    then: Callable[[Examples], Examples] | None = None
    whole: bool = False


Number = tf.Tensor | float  # the same for all images, or float32 [n]


def affine(
    examples: Examples,
    xx: Number = 1.0,
    xy: Number = 0.0,
    x: Number = 0.0,
    yx: Number = 0.0,
    yy: Number = 1.0,
    y: Number = 0.0,
) -> Geometry:
    """A geometry by its entries, each a number for all images, or float32 [n].

    A pixel at (column, row), counted from the centre of the image, comes from column
    `xx * column + xy * row + x` and row `yx * column + yy * row + y`; by default from where it is.

    Args:
        examples: whose images it is for.
        xx: columns per column.
        xy: columns per row.
        x: columns to the right.
        yx: rows per column.
        yy: rows per row.
        y: rows down.
    """
    count = examples.images.shape[0]
    entries = [tf.broadcast_to(tf.cast(each, tf.float32), [count]) for each in (xx, xy, x)]
    entries += [tf.broadcast_to(tf.cast(each, tf.float32), [count]) for each in (yx, yy, y)]
    return Geometry(tf.reshape(tf.stack(entries, axis=1), [count, 2, 3]))


def composed(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The matrix of one geometry after another, float32 [n, 2, 3].

    What the first brings in from outside of the image is what it would be if nothing had been cut
    off in between.
    """
    # Written out: products of matrices may be rounded to another precision on some devices.
    linear = first[:, :, :1] * second[:, :1, :] + first[:, :, 1:2] * second[:, 1:, :]
    return tf.concat([linear[:, :, :2], linear[:, :, 2:] + first[:, :, 2:]], axis=2)


@tf.function(jit_compile=True, autograph=False)
def interpolated(
    images: tf.Tensor, matrix: tf.Tensor, size: int | None = None, whole: bool = False
) -> tf.Tensor:
    """Looks the pixels of images up where a geometry says, by bilinear interpolation.

    What comes in from outside of an image is reflected, its outer border being the mirror.

    Args:
        images: uint8 or float32 [n, height, width, 3].
        matrix: float32 [n, 2, 3], see `Geometry`.
        size: the side of the results, in pixels; None for that of the images.
        whole: see `Geometry`.

    Returns:
        float32 [n, size, size, 3].
    """
    height, width = images.shape[1:3]
    down, across = (_from_centre(side, size or side, whole) for side in (height, width))
    across, down = across[tf.newaxis, tf.newaxis, :], down[tf.newaxis, :, tf.newaxis]
    entries = matrix[:, :, :, tf.newaxis, tf.newaxis]
    columns = entries[:, 0, 0] * across + entries[:, 0, 1] * down + entries[:, 0, 2]
    rows = entries[:, 1, 0] * across + entries[:, 1, 1] * down + entries[:, 1, 2]
    columns = _reflected(columns + (width - 1) / 2, width)
    rows = _reflected(rows + (height - 1) / 2, height)
    return _looked_up(images, columns, rows)


def _from_centre(side: int, size: int, whole: bool) -> tf.Tensor:
    """Where the pixels of a result of some size lie along a side of an image, float32 [size]."""
    places = tf.range(size, dtype=tf.float32) - (size - 1) / 2
    return places * (side / size) if whole and side != size else places


def _reflected(positions: tf.Tensor, size: int) -> tf.Tensor:
    """Folds positions outside of an image back into it, as often as it takes."""
    from_border = tf.abs(positions + 0.5)
    from_border -= 2 * size * tf.floor(from_border / (2 * size))
    return size - tf.abs(size - from_border) - 0.5


def _looked_up(images: tf.Tensor, columns: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Bilinear interpolation of images at positions, float32 [n, height, width] each."""
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    pixels = tf.reshape(tf.cast(images, tf.float32), [-1, 3])
    start = (tf.range(count) * height * width)[:, tf.newaxis, tf.newaxis]
    left, top = tf.floor(columns), tf.floor(rows)
    right_share, bottom_share = (columns - left)[..., tf.newaxis], (rows - top)[..., tf.newaxis]

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        row = tf.clip_by_value(tf.cast(row, tf.int32), 0, height - 1)
        column = tf.clip_by_value(tf.cast(column, tf.int32), 0, width - 1)
        return tf.gather(pixels, start + row * width + column)

    above = at(top, left) * (1.0 - right_share) + at(top, left + 1) * right_share
    below = at(top + 1, left) * (1.0 - right_share) + at(top + 1, left + 1) * right_share
    return above * (1.0 - bottom_share) + below * bottom_share
