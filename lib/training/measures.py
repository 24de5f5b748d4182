"""Scalars measured in a training step, shown in TensorBoard within the epoch.

To add one, register a function of a step's outcome, here or in a plugin:

    @MEASURES.register
    def margin(outcome):
        return tf.reduce_mean(tf.abs(outcome.logits))

They are computed inside the step's graph. Sum over a stacked vector (`tf.reduce_sum(tf.stack(…))`)
rather than term by term, so that the order of summation is the same in every run.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from lib.errors import UserError, reason
from lib.specs import Registry
from lib.training.losses import predicted_classes, true_classes
from lib.training.scalars import require_scalar

MEASURES = Registry("measure")


class Outcome(NamedTuple):
    """What a training step has computed, before it updates the weights.

    Attributes:
        logits: float32 [n, 1] or [n, classes].
        targets: float32 of the same shape.
        losses: float32 [n].
        gradients: of the mean loss, one tensor for each variable.
        variables: what is trained, in the same order.
    """

    logits: tf.Tensor
    targets: tf.Tensor
    losses: tf.Tensor
    gradients: Sequence[tf.Tensor]
    variables: Sequence[tf.Variable]


def measured(outcome: Outcome) -> dict[str, tf.Tensor]:
    """Every registered measure of a step by its name, float32 scalars.

    Raises:
        UserError: a measure fails, or what it returns is no float32 scalar.
    """
    return {name: _measure(name, outcome) for name in MEASURES}


def _measure(name: str, outcome: Outcome) -> tf.Tensor:
    try:
        value = tf.convert_to_tensor(MEASURES[name](outcome))
    except Exception as error:
        raise UserError(
            f"the measure {name!r} failed: {type(error).__name__}: {reason(error)}"
        ) from error
    require_scalar(f"the measure {name!r} returned", value)
    return value


@MEASURES.register
def loss(outcome: Outcome) -> tf.Tensor:
    """The mean loss of the batch."""
    return tf.reduce_mean(outcome.losses)


@MEASURES.register
def accuracy(outcome: Outcome) -> tf.Tensor:
    """The part of the batch whose likeliest class is that of the targets."""
    correct = predicted_classes(outcome.logits) == true_classes(outcome.targets)
    return tf.reduce_mean(tf.cast(correct, tf.float32))


@MEASURES.register
def gradient_norm(outcome: Outcome) -> tf.Tensor:
    """The Euclidean norm of all gradients together, before any clipping."""
    # As products of matrices: TensorFlow's own norm takes a tenth of a step.
    rows = [tf.reshape(each, [1, -1]) for each in outcome.gradients]
    squares = [tf.matmul(row, row, transpose_b=True)[0, 0] for row in rows]
    return tf.sqrt(tf.reduce_sum(tf.stack(squares)))
