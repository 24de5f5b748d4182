"""The training step and the evaluation step, as graphs."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from lib.model.engine import Engine
from lib.model.network import Network
from lib.randomness import uniform
from lib.runs.state import State
from lib.training.averages import Averages
from lib.training.losses import Loss, predicted_classes, true_classes
from lib.training.measures import Outcome, measured
from lib.training.optimizers import Rate, apply_scaled

TrainStep = Callable[[tf.Tensor, tf.Tensor, int], dict[str, tf.Tensor]]
GradientStep = Callable[[tf.Tensor, tf.Tensor, int], Sequence[tf.Tensor]]
EvaluationStep = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a phase trains, and by which rule.

    Attributes:
        network: whose head computes logits from pooled features.
        engine: computes pooled features from the features at the cut.
        variables: what is trained.
        optimizer: updates them.
        schedule: of its learning rate: a number, or a function of the number of updates.
        scales: the factor by which the update of each variable is multiplied.
        averages: of the variables, for evaluations; None where there are none.
        loss: of each example, float32 [n], from logits and targets.
        dropout: part of the pooled features dropped.
        seed: of the dropout masks.
        patience: steps in a row without an update that end training; 1 allows none.
    """

    network: Network
    engine: Engine
    variables: Sequence[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    schedule: Rate
    scales: Sequence[float]
    averages: Averages | None
    loss: Loss
    dropout: float
    seed: int
    patience: int = 1


def make_train_step(learner: Learner, state: State) -> TrainStep:
    """Builds the training step of a phase.

    A step whose loss or gradient is not finite changes no weight. After as many of them in a row as
    there is patience for, no step does any more; the loop finds it in `state.failed_step`.

    Args:
        learner: what is trained; its optimizer is built here, so that it can be restored before the
            first step.
        state: is moved on by one step, and given the step's loss and accuracy.

    Returns:
        A function of a batch's features, its targets, float32 [n, 1] or [n, classes], and of the
        number of the step, int64, from 0. The batch may be of any size. It returns what has been
        measured in the step, float32 scalars by name.
    """
    learner.optimizer.build(learner.variables)

    # Nothing here depends on a tensor's value, and looking for it would take AutoGraph a second.
    @tf.autograph.experimental.do_not_convert
    def update(gradients: Sequence[tf.Tensor]) -> None:
        apply_scaled(learner.optimizer, gradients, learner.variables, learner.scales)
        if learner.averages:
            learner.averages.update()

    @tf.function(input_signature=(*_signature(learner), tf.TensorSpec((), tf.int64)))
    def train_step(features: tf.Tensor, targets: tf.Tensor, step: tf.Tensor):
        outcome = _outcome(learner, features, targets, step)
        measurements = _measurements(learner, outcome)
        finite = _finite(outcome)
        if state.failed_step < 0:
            if finite:
                update(outcome.gradients)
                correct = predicted_classes(outcome.logits) == true_classes(targets)
                state.record(outcome.losses, correct)
                state.skipped_in_a_row.assign(0)
                state.step.assign(step + 1)
            elif state.skipped_in_a_row + 1 < learner.patience:
                state.skipped.assign_add(1)
                state.skipped_in_a_row.assign_add(1)
                state.step.assign(step + 1)
            else:
                state.failed_step.assign(step)
        return measurements

    return train_step


def make_gradient_step(learner: Learner) -> GradientStep:
    """Builds the function that looks ahead: the gradients of the step to come, for its batch."""

    @tf.function(
        input_signature=(*_signature(learner), tf.TensorSpec((), tf.int64)), autograph=False
    )
    def gradient_step(features: tf.Tensor, targets: tf.Tensor, step: tf.Tensor):
        return _outcome(learner, features, targets, step).gradients

    return gradient_step


def make_evaluation_step(engine: Engine, network: Network) -> EvaluationStep:
    """Builds the evaluation step: the features of a batch to its logits [n, 1] or [n, classes]."""

    @tf.function(input_signature=[engine.signature], autograph=False)
    def evaluation_step(features: tf.Tensor) -> tf.Tensor:
        return network.logits(engine.suffix(features), drop=tf.identity)

    return evaluation_step


@tf.autograph.experimental.do_not_convert
def _outcome(learner: Learner, features: tf.Tensor, targets: tf.Tensor, step: tf.Tensor) -> Outcome:
    """Forward and backward pass, for use in a graph."""
    with tf.GradientTape() as tape:
        # The names are for those who look at the graph.
        with tf.name_scope("backbone"):
            pooled = learner.engine.suffix(features)
        with tf.name_scope("head"):
            logits = learner.network.logits(
                pooled, lambda each: drop(each, learner.dropout, learner.seed, step)
            )
        with tf.name_scope("loss"):
            losses = learner.loss(logits, targets)
            loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [each.value for each in learner.variables])
    return Outcome(logits, targets, losses, gradients, learner.variables)


@tf.autograph.experimental.do_not_convert
def _measurements(learner: Learner, outcome: Outcome) -> dict[str, tf.Tensor]:
    """What is measured in the step.

    In each one: under a condition, the gradients would pass through it, which costs ten times more
    than the norm of them that it would save.
    """
    rate = tf.cast(learner.optimizer.learning_rate, tf.float32)
    return measured(outcome) | {"learning_rate": rate}


@tf.autograph.experimental.do_not_convert
def _finite(outcome: Outcome) -> tf.Tensor:
    numbers = (outcome.losses, *outcome.gradients)
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in numbers])


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
