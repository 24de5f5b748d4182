"""The loss: cross-entropy from logits, with its gradient in closed form.

Automatic differentiation of TensorFlow's own sums three gradient terms of the logits in an order
that depends on timing, so that two equal runs part in their last bits. The closed form has but one.
"""

import numpy as np
import tensorflow as tf


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy for one logit, categorical for one logit a class.

    Args:
        logits: float32 [n, 1] (of class 1), or [n, classes].
        targets: float32 of the shape of the logits, probabilities of the classes.

    Returns:
        The loss of each example, float32 [n].
    """
    return (_binary if logits.shape[1] == 1 else _categorical)(logits, targets)


@tf.custom_gradient
def _binary(logits: tf.Tensor, targets: tf.Tensor):
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)[:, 0]

    def gradient(upstream):
        return upstream[:, tf.newaxis] * (tf.sigmoid(logits) - targets), None

    return losses, gradient


@tf.custom_gradient
def _categorical(logits: tf.Tensor, targets: tf.Tensor):
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)

    def gradient(upstream):
        return upstream[:, tf.newaxis] * (tf.nn.softmax(logits) - targets), None

    return losses, gradient


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """The probability of each class, float32 [n, classes]; for one logit by the sigmoid."""
    if logits.shape[1] == 1:
        return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1)
    return tf.nn.softmax(logits)


def answers(logits: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What the network says: likeliest classes, int32 [n], and probabilities, float32 [n, classes].

    The probabilities are rounded from double precision, since in single precision the last bit
    depends on a picture's place in its batch.
    """
    return (
        predicted_classes(logits).numpy(),
        probabilities(tf.cast(logits, tf.float64)).numpy().astype(np.float32),
    )


def likeliest_classes(targets: tf.Tensor) -> tf.Tensor:
    """The likeliest class of each target, int32 [n]; class 1 must be likelier than class 0."""
    return predicted_classes(targets - 0.5)


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """The likeliest class of each example, int32 [n]; for one logit the threshold is 0.5."""
    if logits.shape[1] == 1:
        return tf.cast(logits[:, 0] > 0.0, tf.int32)
    return tf.argmax(logits, axis=1, output_type=tf.int32)
