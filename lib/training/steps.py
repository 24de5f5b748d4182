"""The training step, cut into slices, and the evaluation step."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import tensorflow as tf

from lib.distribution.slices import WHOLE, Slices, tree_sum
from lib.model.engine import Engine
from lib.model.folding import Weights
from lib.model.network import Network
from lib.randomness import uniform
from lib.runs.state import State
from lib.system.exact_sums import require_exact_sums
from lib.system.runtime import threads
from lib.training.averages import Averages
from lib.training.feed import Batch
from lib.training.gradients import Gradients, differentiated, through_folding
from lib.training.losses import Loss, predicted_classes, true_classes
from lib.training.measures import Outcome, measured
from lib.training.optimizers import Rate, apply_scaled

# This worker's slices of a batch, and the number of the step, to what they give.
SliceStep = Callable[[Batch, int], "Computed"]
# What the whole batch gives, and the number of the step, to what was measured in it.
UpdateStep = Callable[["Computed", int], dict[str, tf.Tensor]]
TrainStep = Callable[[Batch, int], dict[str, tf.Tensor]]
EvaluationStep = Callable[[tf.Tensor], tf.Tensor]

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
        slices: of a batch, whose gradients are computed each by itself.
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
    slices: Slices = WHOLE


def make_train_step(learner: Learner, state: State) -> TrainStep:
    """Builds the training step of a phase that one worker trains: its two halves in a row.

    Args:
        learner: what is trained.
        state: is moved on by one step.
    """
    of_slice = trace_slice(learner)
    slice_step, update_step = (
        make_slice_step(learner, of_slice),
        make_update_step(learner, state, of_slice),
    )
    return lambda batch, step: update_step(slice_step(batch, step), step)


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


def make_update_step(
    learner: Learner, state: State, of_slice: tf.types.experimental.ConcreteFunction
) -> UpdateStep:
    """Builds the second half of a training step, in which every worker does the same.

    A step whose loss or gradient is not finite changes no weight. After as many of them in a row as
    there is patience for, no step does any more; the loop finds it in `state.failed_step`.

    Args:
        learner: what is trained; its optimizer is built here, so that it can be restored before the
            first step.
        state: is moved on by one step, and given the step's loss and accuracy.
        of_slice: what computes a slice, and with it the shapes of gradients.

    Returns:
        A function of what the whole batch gives, of any number of images, and of the number of the
        step, from 0. It returns what has been measured in the step, float32 scalars by name.
    """
    learner.optimizer.build(learner.variables)

    # Nothing here depends on a tensor's value, and looking for it would take AutoGraph a second.
    @tf.autograph.experimental.do_not_convert
    def update(gradients: Sequence[tf.Tensor]) -> None:
        apply_scaled(learner.optimizer, gradients, learner.variables, learner.scales)
        if learner.averages:
            learner.averages.update()

    columns = tf.TensorSpec((None, learner.network.head.units))
    gradients = tf.nest.map_structure(tf.TensorSpec.from_tensor, gradients_of(of_slice))
    computed = Computed(columns, columns, tf.TensorSpec((None,)), gradients)

    @tf.function(input_signature=(computed, tf.TensorSpec((), tf.int64)))
    def update_graph(computed: Computed, step: tf.Tensor):
        outcome = outcome_of(learner, computed)
        measurements = _measurements(learner, outcome)
        finite = _finite(outcome)
        if state.failed_step < 0:
            if finite:
                update(outcome.gradients)
                correct = predicted_classes(outcome.logits) == true_classes(outcome.targets)
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

    require_exact_sums(update_graph.get_concrete_function())

    return lambda computed, step: update_graph(computed, tf.constant(step, tf.int64))


def make_evaluation_step(engine: Engine, network: Network) -> EvaluationStep:
    """Builds the evaluation step: the features of a batch to its logits [n, 1] or [n, classes]."""

    @tf.function(input_signature=[engine.signature], autograph=False)
    def evaluation_step(features: tf.Tensor) -> tf.Tensor:
        return network.logits(engine.suffix(features), drop=tf.identity)

    return evaluation_step


@tf.autograph.experimental.do_not_convert
def outcome_of(learner: Learner, computed: Computed) -> Outcome:
    """What a batch gives, with its gradients in the variables."""
    fold, variables = learner.engine.weights, learner.variables
    gradients = through_folding(computed.gradients, fold, variables)
    return Outcome(*computed[:3], gradients, variables)


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
