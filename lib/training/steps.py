"""What happens in one step: the training step and the evaluation step, as graphs."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from lib.model.engine import Engine, Features
from lib.randomness import Stream, uniform
from lib.training.losses import cross_entropy, predicted_classes
from lib.training.state import State

TrainStep = Callable[[Features, tf.Tensor], None]
EvaluationStep = Callable[[Features, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_train_step(
    engine: Engine,
    head: keras.layers.Layer,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    state: State,
    dropout: float,
    seed: int,
) -> TrainStep:
    """Builds the training step of a phase.

    A step whose loss or gradient is not finite changes no weight, nor does any after it; the loop
    finds its number in `state.failed_step`.

    Args:
        engine: computes pooled features from the features at the cut.
        head: computes logits from pooled features.
        variables: what is trained.
        optimizer: updates them; built here, so that it can be restored before the first step.
        state: is moved on by one step, and given the step's loss and accuracy.
        dropout: part of the pooled features dropped.
        seed: of the dropout masks.

    Returns:
        A function of a batch's features and labels (int32 [n]); the batch may be of any size.
    """
    optimizer.build(variables)

    @tf.function(input_signature=_signature(engine))
    def train_step(features: Features, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            pooled = engine.suffix(features)
            logits = head(drop(pooled, dropout, seed, state.step))
            losses = cross_entropy(logits, labels)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [variable.value for variable in variables])

        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in (loss, *gradients)])
        if not finite and state.failed_step < 0:
            state.failed_step.assign(state.step)
        if state.failed_step < 0:
            optimizer.apply(gradients, variables)
            state.record(losses, predicted_classes(logits) == labels)
            state.step.assign_add(1)

    return train_step


def make_evaluation_step(engine: Engine, head: keras.layers.Layer) -> EvaluationStep:
    """Builds the evaluation step: features and labels (int32 [n]) to logits and losses [n]."""

    @tf.function(input_signature=_signature(engine))
    def evaluation_step(features: Features, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = head(engine.suffix(features))
        return logits, cross_entropy(logits, labels)

    return evaluation_step


def _signature(engine: Engine) -> tuple:
    # With the number of examples left open, the smaller last batch needs no trace of its own.
    return engine.signature, tf.TensorSpec((None,), tf.int32)


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
    kept = uniform(shape, seed, Stream.DROPOUT, step)[first:] >= rate
    return tf.where(kept, pooled / (1.0 - rate), 0.0)
