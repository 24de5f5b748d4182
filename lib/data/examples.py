"""Training examples: images and targets."""

from typing import NamedTuple

import tensorflow as tf


class Examples(NamedTuple):
    """Images and their targets.

    Attributes:
        images: float32 [n, height, width, 3], 0 to 255.
        targets: float32, the probabilities of the classes: [n, classes], or of two classes
            that of class 1 alone, [n, 1].
    """

    images: tf.Tensor
    targets: tf.Tensor


def target_columns(classes: int) -> int:
    """How many numbers the target of an example has."""
    return 1 if classes == 2 else classes


def one_hot_targets(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """The targets of examples that belong to one class each.

    Args:
        labels: int32 [n], indices of classes.
        classes: how many there are.

    Returns:
        float32 [n, classes]; of two classes the target of class 1, [n, 1].
    """
    if classes == 2:
        return tf.cast(labels, tf.float32)[:, tf.newaxis]
    return tf.one_hot(labels, classes)
