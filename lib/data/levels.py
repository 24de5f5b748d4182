"""Greys, means and extremes of the levels of images.

As TensorFlow's own, in a form that a processor does several numbers at once of.
"""

from collections.abc import Callable

import tensorflow as tf


def greys(images: tf.Tensor) -> tf.Tensor:
    """The grey levels of images, float32 [n, height, width, 1].

    As `tf.image.rgb_to_grayscale`, whose product of matrices takes twice as long.
    """
    red, green, blue = tf.split(images, 3, axis=-1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def means(images: tf.Tensor) -> tf.Tensor:
    """The mean colour of each image, float32 [n, 1, 1, 3]."""
    count, height, width, _ = images.shape
    # Strips on top of each other first: additions of whole rows take several numbers at once.
    strips = max(each for each in range(1, 17) if height % each == 0)
    rows = tf.reshape(images, [count, strips, height // strips, 3 * width])
    rows = tf.add_n(tf.unstack(rows, axis=1))
    total = tf.reduce_sum(tf.reshape(rows, [count, -1, 3]), axis=1)
    return (total / (height * width))[:, tf.newaxis, tf.newaxis]


def extreme(images: tf.Tensor, which: Callable) -> tf.Tensor:
    """The lowest (`tf.reduce_min`) or highest level of each image and channel, [n, 1, 1, 3]."""
    count, height, width, _ = images.shape
    rows = which(tf.reshape(images, [count, height, 3 * width]), axis=1)
    return which(tf.reshape(rows, [count, 1, width, 3]), axis=2, keepdims=True)
