from typing import Any, NamedTuple

import tensorflow as tf

from lib.specs import Registry
from lib.training.losses import predicted_classes, true_classes

MEASURES = Registry("measure")


class Outcome(NamedTuple):
    logits: Any
    targets: Any
    losses: Any
    gradients: Any
    variables: Any


@MEASURES.register
def loss(o):
    return tf.reduce_mean(o.losses)


@MEASURES.register
def accuracy(o):
    return tf.reduce_mean(
        tf.cast(predicted_classes(o.logits) == true_classes(o.targets), tf.float32)
    )


@MEASURES.register
def gradient_norm(o):
    return tf.sqrt(tf.reduce_sum(tf.stack([tf.reduce_sum(g * g) for g in o.gradients])))


def measured(o):
    return {n: MEASURES[n](o) for n in MEASURES}
