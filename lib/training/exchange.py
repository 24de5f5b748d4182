"""Puts together what the slices of all workers have come to."""

import math
from collections.abc import Callable

import tensorflow as tf

from lib.distribution.slices import tree_sum
from lib.distribution.workers import Workers
from lib.training.measures import Outcome
from lib.training.steps import Learner

# What this worker's slices have come to, and the images of the whole batch, to what that has.
Gather = Callable[[Outcome, int], Outcome]


def make_gather(learner: Learner, workers: Workers, exchange: str) -> Gather:
    """Builds the one exchange of a step.

    Each worker sends the sum of its slices' gradients, and the numbers of its examples. Every one
    sums the gradients in the order of the slices, so that all have the same bits, whatever their
    number.

    Args:
        learner: what is trained.
        workers: that train it.
        exchange: "exact", or "fast": the gradients are summed as TensorFlow does, in another order
            for another number of workers.
    """
    if workers.count == 1:
        return lambda outcome, images: outcome
    shapes = [each.shape for each in learner.variables]
    sizes = [math.prod(shape) for shape in shapes]
    room = learner.slices.size * len(learner.slices.mine)  # examples of a worker
    columns = learner.network.head.units

    @tf.function(autograph=False, reduce_retracing=True)
    def flat(gradients, logits, targets, losses):
        """The gradient, and the numbers of examples filled up to what a worker has room for."""
        missing = [[0, room - tf.shape(losses)[0]], [0, 0]]
        examples = tf.pad(tf.concat([logits, targets, losses[:, tf.newaxis]], 1), missing)
        return tf.concat([tf.reshape(each, [-1]) for each in gradients], 0), tf.reshape(
            examples, [-1]
        )

    @tf.function(autograph=False)
    def shaped(gradient):
        parts = tf.split(gradient, sizes)
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

    def gather(outcome: Outcome, images: int) -> Outcome:
        gradient, examples = flat(
            outcome.gradients, outcome.logits, outcome.targets, outcome.losses
        )
        if exchange == "fast":
            total, rows = workers.reduce(gradient), workers.gather(examples)
        else:
            rows = workers.gather(tf.concat([gradient, examples], 0))
            gradients, rows = rows[:, : sum(sizes)], rows[:, sum(sizes) :]
            # Those who had no image come last; adding their zeros would turn -0.0 into 0.0.
            total = tree_sum(tf.unstack(gradients[: math.ceil(images / room)]), tf.add)
        examples = tf.reshape(rows, [-1, 2 * columns + 1])[:images]
        return Outcome(
            examples[:, :columns],
            examples[:, columns : 2 * columns],
            examples[:, -1],
            shaped(total),
            outcome.variables,
        )

    return gather
