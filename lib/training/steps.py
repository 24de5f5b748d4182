"""What happens in one step: the training step and the evaluation step, as graphs."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from lib.model.engine import Engine
from lib.randomness import uniform
from lib.training.losses import cross_entropy, likeliest_classes, predicted_classes
from lib.training.state import State

TrainStep = Callable[[tf.Tensor, tf.Tensor], None]
GradientStep = Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]
EvaluationStep = Callable[[tf.Tensor], tf.Tensor]


def make_train_step(
    engine: Engine,
    head: keras.layers.Layer,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    state: State,
    dropout: float,
    seed: int,
    patience: int = 1,
) -> TrainStep:
    """Builds the training step of a phase.

    A step whose loss or gradient is not finite changes no weight. After as many of them in a row as
    there is patience for, no step does any more; the loop finds it in `state.failed_step`.

    Args:
        engine: computes pooled features from the features at the cut.
        head: computes logits from pooled features.
        variables: what is trained.
        optimizer: updates them; built here, so that it can be restored before the first step.
        state: is moved on by one step, and given the step's loss and accuracy.
        dropout: part of the pooled features dropped.
        seed: of the dropout masks.
        patience: steps in a row without an update that end training; 1 bears none.

    Returns:
        A function of a batch's features and targets (float32 [n, 1] or [n, classes]); the batch may
        be of any size.
    """
    optimizer.build(variables)
    apply = tf.autograph.experimental.do_not_convert(optimizer.apply)
    differentiate = _make_differentiate(engine, head, variables, state, dropout, seed)

    @tf.function(input_signature=_signature(engine, head))
    def train_step(features: tf.Tensor, targets: tf.Tensor) -> None:
        logits, losses, loss, gradients = differentiate(features, targets)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in (loss, *gradients)])
        if state.failed_step < 0:
            if finite:
                apply(gradients, variables)
                state.record(losses, predicted_classes(logits) == likeliest_classes(targets))
                state.skipped_in_a_row.assign(0)
                state.step.assign_add(1)
            elif state.skipped_in_a_row + 1 < patience:
                state.skipped.assign_add(1)
                state.skipped_in_a_row.assign_add(1)
                state.step.assign_add(1)
            else:
                state.failed_step.assign(state.step)

    return train_step


def make_gradient_step(
    engine: Engine,
    head: keras.layers.Layer,
    variables: Sequence[keras.Variable],
    state: State,
    dropout: float,
    seed: int,
) -> GradientStep:
    """Builds the function that looks ahead: the gradients of the step to come, for its batch.

    See `make_train_step` for the arguments; nothing is changed.
    """
    differentiate = _make_differentiate(engine, head, variables, state, dropout, seed)

    @tf.function(input_signature=_signature(engine, head), autograph=False)
    def gradient_step(features: tf.Tensor, targets: tf.Tensor) -> list[tf.Tensor]:
        return differentiate(features, targets)[-1]

    return gradient_step


def _make_differentiate(
    engine: Engine,
    head: keras.layers.Layer,
    variables: Sequence[keras.Variable],
    state: State,
    dropout: float,
    seed: int,
):
    """A function of a batch to its logits, losses, mean loss and gradients, for use in a graph."""

    # Nothing here depends on a tensor's value, and looking for it would take AutoGraph a second.
    @tf.autograph.experimental.do_not_convert
    def differentiate(features: tf.Tensor, targets: tf.Tensor):
        with tf.GradientTape() as tape:
            # The names are for those who look at the graph.
            with tf.name_scope("backbone"):
                pooled = engine.suffix(features)
            with tf.name_scope("head"):
                logits = head(drop(pooled, dropout, seed, state.step))
            with tf.name_scope("loss"):
                losses = cross_entropy(logits, targets)
                loss = tf.reduce_mean(losses)
        return logits, losses, loss, tape.gradient(loss, [each.value for each in variables])

    return differentiate


def make_evaluation_step(engine: Engine, head: keras.layers.Layer) -> EvaluationStep:
    """Builds the evaluation step: the features of a batch to its logits [n, 1] or [n, classes]."""

    @tf.function(input_signature=[engine.signature], autograph=False)
    def evaluation_step(features: tf.Tensor) -> tf.Tensor:
        return head(engine.suffix(features))

    return evaluation_step


def _signature(engine: Engine, head: keras.layers.Layer) -> tuple:
    # With the number of examples left open, the smaller last batch needs no trace of its own.
    return engine.signature, tf.TensorSpec((None, head.units))


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
