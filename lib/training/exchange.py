"""Puts together what the slices of all workers have come to."""

import math
from collections.abc import Callable

import tensorflow as tf

from lib.distribution.workers import Workers
from lib.training.gradients import Gradients
from lib.training.learner import Learner
from lib.training.slice_step import Computed, gradients_of
from lib.training.slices import tree_sum

# What this worker's slices have come to, and the images of the whole batch, to what that has.
Gather = Callable[[Computed, int], Computed]


def make_gather(
    learner: Learner,
    of_slice: tf.types.experimental.ConcreteFunction,
    workers: Workers,
    exchange: str,
) -> Gather:
    """Builds the one exchange of a step.

    Each worker sends the sum of its slices' gradients, and the numbers of its examples. Every one
    sums the gradients in the order of the slices, so that all have the same bits, whatever their
    number.

    Args:
        learner: what is trained.
        of_slice: what computes a slice, and with it the shapes of gradients.
        workers: that train it.
        exchange: "exact", or "fast": the gradients are summed as TensorFlow does, in another order
            for another number of workers.
    """
    if workers.count == 1:
        return lambda computed, images: computed
    structure = gradients_of(of_slice)
    shapes = [each.shape for each in tf.nest.flatten(structure)]
    sizes = [math.prod(shape) for shape in shapes]
    room = learner.slices.size * len(learner.slices.mine)  # examples of a worker
    columns = learner.network.head.units

    @tf.function(autograph=False, reduce_retracing=True)
    def flat(computed: Computed) -> tuple[tf.Tensor, tf.Tensor]:
        """The gradient, and the numbers of examples filled up to what a worker has room for."""
        logits, targets, losses, gradients = computed
        missing = [[0, room - tf.shape(losses)[0]], [0, 0]]
        examples = tf.pad(tf.concat([logits, targets, losses[:, tf.newaxis]], 1), missing)
        flattened = [tf.reshape(each, [-1]) for each in tf.nest.flatten(gradients)]
        return tf.concat(flattened, 0), tf.reshape(examples, [-1])

    @tf.function(autograph=False)
    def shaped(gradient: tf.Tensor) -> Gradients:
        parts = zip(tf.split(gradient, sizes), shapes, strict=True)
        return tf.nest.pack_sequence_as(structure, [tf.reshape(*each) for each in parts])

    def gather(computed: Computed, images: int) -> Computed:
        gradient, examples = flat(computed)
        if exchange == "fast":
            total, rows = workers.reduce(gradient), workers.gather(examples)
        else:
            rows = workers.gather(tf.concat([gradient, examples], 0))
            gradients, rows = rows[:, : sum(sizes)], rows[:, sum(sizes) :]
            # Those who had no image come last; adding their zeros would turn -0.0 into 0.0.
            total = tree_sum(tf.unstack(gradients[: math.ceil(images / room)]), tf.add)
        examples = tf.reshape(rows, [-1, 2 * columns + 1])[:images]
        logits, targets = examples[:, :columns], examples[:, columns : 2 * columns]
        return Computed(logits, targets, examples[:, -1], shaped(total))

    return gather
