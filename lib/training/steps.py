"""The training step, which is the slices' gradients and an update, and the evaluation step."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from lib.model.engine import Engine
from lib.model.network import Network
from lib.runs.state import State
from lib.system.exact_sums import require_exact_sums
from lib.training.feed import Batch
from lib.training.gradients import through_folding
from lib.training.learner import Learner
from lib.training.losses import predicted_classes, true_classes
from lib.training.measures import Outcome, measured
from lib.training.optimizers import apply_scaled
from lib.training.slice_step import Computed, gradients_of, make_slice_step, trace_slice

# What the whole batch gives, and the number of the step, to what was measured in it.
UpdateStep = Callable[[Computed, int], dict[str, tf.Tensor]]
TrainStep = Callable[[Batch, int], dict[str, tf.Tensor]]
EvaluationStep = Callable[[tf.Tensor], tf.Tensor]


def make_train_step(learner: Learner, state: State) -> TrainStep:
    """Builds the training step of a phase that one worker trains: its two halves in a row.

    Args:
        learner: what is trained.
        state: is moved on by one step.
    """
    of_slice = trace_slice(learner)
    slice_step = make_slice_step(learner, of_slice)
    update_step = make_update_step(learner, state, of_slice)
    return lambda batch, step: update_step(slice_step(batch, step), step)


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
