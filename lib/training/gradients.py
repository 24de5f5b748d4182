"""Gradients in what a slice computes with, and from there in the variables.

The batch normalisation is folded once in a step. The slices compute with the folded weights and are
differentiated in them; what they sum up to goes through the folding once, back to the variables.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from lib.model.folding import Weights


class Gradients(NamedTuple):
    """The gradient of a loss in what it was computed with, in the structure of that.

    Attributes:
        weights: in the folded weights, see `lib.model.engine.Engine.weights`.
        variables: in those of the trained variables that are used as they are, by their numbers.
    """

    weights: tuple[dict[str, tf.Tensor], ...]
    variables: dict[str, tf.Tensor]


def differentiated(
    tape: tf.GradientTape,
    loss: tf.Tensor,
    weights: Sequence[Weights],
    variables: Sequence[keras.Variable],
) -> Gradients:
    """The gradient of a loss that was computed with weights and variables.

    Args:
        tape: that recorded it, and watched the weights.
        loss: a scalar.
        weights: what was folded outside of the tape.
        variables: what is trained, whether it was used or not.
    """
    in_weights, in_variables = tape.gradient(loss, (weights, [each.value for each in variables]))
    used = {f"{i:04d}": each for i, each in enumerate(in_variables) if each is not None}
    return Gradients(tuple(in_weights), used)


def through_folding(
    gradients: Gradients,
    fold: Callable[[], Sequence[Weights]],
    variables: Sequence[keras.Variable],
) -> list[tf.Tensor]:
    """The gradient in each variable, of that in what was made of the variables.

    Args:
        gradients: of the loss, as `differentiated` gives them.
        fold: makes the weights of the variables.
        variables: what is trained.
    """
    with tf.GradientTape() as tape:
        weights = tf.nest.flatten(fold())
    found = tape.gradient(
        weights,
        [each.value for each in variables],
        tf.nest.flatten(gradients.weights),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    for number, direct in gradients.variables.items():
        found[int(number)] += direct
    return found
