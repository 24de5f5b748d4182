"""The first half of a training step: the gradients of a batch, slice by slice."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf

from lib.model.folding import Weights
from lib.randomness import uniform
from lib.system.exact_sums import require_exact_sums
from lib.system.runtime import threads
from lib.training.feed import Batch
from lib.training.gradients import Gradients, differentiated
from lib.training.learner import Learner
from lib.training.slices import tree_sum

_INDEX = tf.TensorSpec((), tf.int32)


class Computed(NamedTuple):
    """What slices give, or all those of a batch together.

    Attributes:
        logits: float32 [n, 1] or [n, classes].
        targets: float32 of the same shape.
        losses: float32 [n].
        gradients: their part of that of the batch's mean loss.
    """

    logits: tf.Tensor
    targets: tf.Tensor
    losses: tf.Tensor
    gradients: Gradients


# This worker's slices of a batch, and the number of the step, to what they give.
SliceStep = Callable[[Batch, int], Computed]


def make_slice_step(
    learner: Learner, of_slice: tf.types.experimental.ConcreteFunction
) -> SliceStep:
    """Builds the first half of a training step, which changes nothing.

    Args:
        learner: what is trained.
        of_slice: what computes a slice, see `trace_slice`.

    Returns:
        A function of this worker's part of a batch, and of the number of the step, from 0. It
        returns logits, targets and losses of that part, and the sum of its slices' gradients.
    """
    side_by_side = ThreadPoolExecutor(threads(), "slice")
    fold = tf.function(learner.engine.weights, autograph=False)
    add = tf.function(functools.partial(tf.nest.map_structure, tf.add), autograph=False)

    def slice_step(batch: Batch, step: int) -> Computed:
        parts, weights = learner.slices.parts(batch.images), fold()
        if not parts:
            zeros = tf.nest.map_structure(lambda each: tf.zeros(each.shape), gradients_of(of_slice))
            return Computed(batch.targets, batch.targets, tf.zeros(0), zeros)

        def compute(part: range) -> tuple[tf.Tensor, tf.Tensor, Gradients]:
            rows = slice(part.start - learner.slices.first, part.stop - learner.slices.first)
            cut = (batch.features[rows], batch.targets[rows]) if len(parts) > 1 else batch[:2]
            numbers = (
                tf.constant(step, tf.int64),
                tf.constant(part.start),
                tf.constant(batch.images),
            )
            return of_slice(weights, *cut, *numbers)

        logits, losses, gradients = zip(*side_by_side.map(compute, parts), strict=True)
        return Computed(
            tf.concat(logits, 0), batch.targets, tf.concat(losses, 0), tree_sum(gradients, add)
        )

    return slice_step


def trace_slice(learner: Learner) -> tf.types.experimental.ConcreteFunction:
    """Traces the one function that computes every slice, so that all get the same kernels.

    Args:
        learner: what is trained.

    Returns:
        A function of the engine's weights, of a slice's features and targets, of the number of the
        step, int64, of the position of its first image and the number of images in the whole batch,
        int32. It returns logits, losses, and the slice's part of the gradient of the batch's mean
        loss.

    Raises:
        UserError: it has a sum whose order would be left to timing.
    """
    weights = tf.nest.map_structure(tf.TensorSpec.from_tensor, learner.engine.weights())

    @tf.function(
        input_signature=(
            weights,
            *_signature(learner),
            tf.TensorSpec((), tf.int64),
            _INDEX,
            _INDEX,
        ),
        autograph=False,
    )
    def of_slice(
        weights: Sequence[Weights],
        features: tf.Tensor,
        targets: tf.Tensor,
        step: tf.Tensor,
        first: tf.Tensor,
        images: tf.Tensor,
    ):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            # The names are for those who look at the graph.
            with tf.name_scope("backbone"):
                pooled = learner.engine.suffix(features, weights)
            with tf.name_scope("head"):
                logits = learner.network.logits(
                    pooled, lambda each: drop(each, learner.dropout, learner.seed, step, first)
                )
            with tf.name_scope("loss"):
                losses = learner.loss(logits, targets)
                loss = tf.reduce_sum(losses) / tf.cast(images, tf.float32)
        return logits, losses, differentiated(tape, loss, weights, learner.variables)

    traced = of_slice.get_concrete_function()
    require_exact_sums(traced)
    return traced


def gradients_of(of_slice: tf.types.experimental.ConcreteFunction) -> Gradients:
    """The gradients that a traced slice returns, symbolic: their structure, shapes and types."""
    return of_slice.structured_outputs[2]


def _signature(learner: Learner) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    # With the number of examples left open, the smaller last batch needs no trace of its own.
    return learner.engine.signature, tf.TensorSpec((None, learner.network.head.units))


def drop(
    pooled: tf.Tensor, rate: float, seed: int, step: tf.Tensor, first: tf.Tensor | int = 0
) -> tf.Tensor:
    """Dropout whose mask is a function of (seed, step, position in the batch).

    Args:
        pooled: float32 [n, channels].
        rate: the part of features set to zero; the others are scaled up to keep the mean.
        seed: the run's seed.
        step: int64 scalar.
        first: position of the first example within the global batch.
    """
    if rate == 0.0:
        return pooled
    shape = [first + tf.shape(pooled)[0], pooled.shape[1]]
    kept = uniform(shape, seed, "dropout", step)[first:] >= rate
    return tf.where(kept, pooled / (1.0 - rate), 0.0)
