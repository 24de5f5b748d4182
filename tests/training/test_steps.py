import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config import Phase
from lib.data.examples import one_hot_targets
from lib.model.engine import Engine, cut
from lib.model.freezing import first_trained, freeze
from lib.runs.state import State
from lib.training import slice_step, steps
from lib.training.averages import Averages
from lib.training.feed import Batch
from lib.training.learner import Learner
from lib.training.losses import cross_entropy
from lib.training.optimizers import build_optimizer
from lib.training.slice_step import drop, make_slice_step, trace_slice
from lib.training.steps import make_evaluation_step, make_train_step, outcome_of

BATCH = 6
few = settings(max_examples=25)
THAWED = "block_16_expand"  # near the top, so that a step is quick


def learner_of(network, at, optimizer="sgd", rate=0.01, dropout=0.2, kind="plain", **others):
    """What a phase trains that thaws the backbone from a layer on."""
    index = first_trained(network.backbone, Phase("phase", thaw="none" if at is None else at))
    variables = freeze(network, index)
    return Learner(
        **{
            "network": network,
            "engine": cut(network, index, kind, 2),
            "variables": variables,
            "optimizer": build_optimizer(optimizer, rate),
            "schedule": rate,
            "scales": [1.0] * len(variables),
            "averages": None,
            "loss": cross_entropy,
            "dropout": dropout,
            "seed": 0,
            **others,
        }
    )


class Steps:
    """Takes steps one after the other, as the loop does."""

    def __init__(self, learner, state=None):
        self.learner, self.state = learner, state or State()
        self.function = make_train_step(learner, self.state)

    def __call__(self, features, targets):
        return self.function(Batch(features, targets, len(targets)), int(self.state.step))


def phase_of(network, *arguments, state=None, **options):
    """What the loop builds for a phase: trained variables, feature function, step, state."""
    learner = learner_of(network, *arguments, **options)
    steps = Steps(learner, state)
    return learner.variables, learner.engine, steps, steps.state


def batch(classes=2, count=BATCH, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return images, one_hot_targets(tf.constant(np.arange(count) % classes, tf.int32), classes)


def values(network):
    return {variable.path: variable.numpy() for variable in network.model.variables}


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


@pytest.mark.parametrize("kind", ["plain", "auto"])
@pytest.mark.parametrize("at", [None, THAWED, "block_16_depthwise_BN"])
def test_a_step_changes_exactly_the_thawed_variables(network, at, kind):
    variables, engine, step, _ = phase_of(network, at, kind=kind)
    before = values(network)
    images, targets = batch()
    step(engine.prefix(images), targets)
    assert changed(before, values(network)) == {variable.path for variable in variables}


def test_with_three_classes_too(network_for_three):
    variables, engine, step, state = phase_of(network_for_three, THAWED)
    before = values(network_for_three)
    images, targets = batch(classes=3)
    step(engine.prefix(images), targets)
    assert changed(before, values(network_for_three)) == {v.path for v in variables}
    assert int(state.count) == BATCH and int(state.failed_step) == -1


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_the_statistics_of_batch_normalisation_never_move(network, kind):
    _, engine, step, _ = phase_of(network, THAWED, "adam", 0.01, kind=kind)
    before = values(network)
    for number in range(3):
        images, targets = batch(seed=number)
        step(engine.prefix(images), targets)
    moved = changed(before, values(network))
    assert any("gamma" in path for path in moved)
    assert not any("moving_" in path for path in moved)


def test_a_step_of_the_head_is_plain_gradient_descent(network):
    _, engine, step, state = phase_of(network, None, "sgd", 0.5, dropout=0.0)
    images, targets = batch()
    pooled = engine.prefix(images)
    logits = network.head(pooled)
    error = tf.sigmoid(logits) - targets
    kernel, bias = network.head.kernel.numpy(), network.head.bias.numpy()
    losses = cross_entropy(logits, targets)

    step(pooled, targets)

    slope = tf.matmul(pooled, error, transpose_a=True) / BATCH
    np.testing.assert_allclose(network.head.kernel, kernel - 0.5 * slope, atol=1e-6)
    np.testing.assert_allclose(network.head.bias, bias - 0.5 * np.mean(error), atol=1e-6)
    assert float(state.loss_sum) == pytest.approx(float(np.sum(losses)), rel=1e-5)
    right = (logits[:, 0] > 0) == (targets[:, 0] == 1)
    assert int(state.correct) == int(np.sum(right))


def test_steps_are_counted_and_metrics_summed_over_batches_of_any_size(network):
    _, engine, step, state = phase_of(network, None)
    for count in (BATCH, BATCH, 2):
        images, targets = batch(count=count)
        step(engine.prefix(images), targets)
    assert (int(state.step), int(state.count)) == (3, 2 * BATCH + 2)


def traces(monkeypatch):
    """What is called while a step's functions are traced, by name, as often as it is."""
    called = []

    def noted(original):
        return lambda *arguments: called.append(original.__name__) or original(*arguments)

    for module, function in ((slice_step, drop), (steps, steps.measured)):
        monkeypatch.setattr(module, function.__name__, noted(function))
    return called


@pytest.mark.parametrize("at", [None, THAWED])
def test_each_function_is_traced_once_with_a_smaller_last_batch_too(network, at, monkeypatch):
    traced = traces(monkeypatch)
    _, engine, step, _ = phase_of(network, at)
    evaluation_step = make_evaluation_step(engine, network)
    for count in (BATCH, BATCH, 2, 1):
        images, targets = batch(count=count)
        features = engine.prefix(images)
        step(features, targets)
        evaluation_step(features)
    assert sorted(traced) == ["drop", "measured"]
    assert evaluation_step.experimental_get_tracing_count() == 1


def fine_tuned(network, weights):
    """The weights after two steps of a fine-tuning phase that begins at some weights."""
    network.model.set_weights(weights)
    state = State()
    state.step.assign(3)
    _, engine, step, _ = phase_of(network, THAWED, "rmsprop", 1e-3, state=state)
    for number in range(2):
        images, targets = batch(seed=number)
        step(engine.prefix(images), targets)
    return values(network)


def test_the_optimizer_of_the_first_phase_has_no_say_in_the_second(network):
    state = State()
    _, engine, step, _ = phase_of(network, None, "adam", 0.1, state=state)
    for number in range(3):
        images, targets = batch(seed=number)
        step(engine.prefix(images), targets)
    weights = network.model.get_weights()
    _, engine, step, _ = phase_of(network, THAWED, "rmsprop", 1e-3, state=state)
    for number in range(2):
        images, targets = batch(seed=number)
        step(engine.prefix(images), targets)
    after_both = values(network)
    # The same weights, as if there had never been a first phase.
    assert not changed(after_both, fine_tuned(network, weights))


@pytest.mark.parametrize(("at", "poison"), [(None, np.nan), (THAWED, np.inf)])
def test_a_loss_that_is_not_finite_changes_nothing_and_names_its_step(network, at, poison):
    _, engine, step, state = phase_of(network, at, "adam")
    images, targets = batch()
    good = engine.prefix(images)
    step(good, targets)
    before, metrics = values(network), float(state.loss_sum)
    step(good * poison, targets)
    step(good, targets)  # whatever comes after it
    assert int(state.failed_step) == 1
    assert int(state.step) == 1
    assert float(state.loss_sum) == metrics
    assert not changed(before, values(network))


def test_with_patience_a_step_without_an_update_is_left_out_and_counted(network):
    variables, engine, step, state = phase_of(network, None, dropout=0.0, patience=3)
    optimizer = step.learner.optimizer
    images, targets = batch()
    good = engine.prefix(images)
    bad = good * np.nan
    before = values(network)
    for features in (bad, bad, good, bad, bad):
        step(features, targets)
    # Two in a row are borne, twice; each takes a step's number, so that the order goes on.
    assert (int(state.step), int(state.failed_step), int(state.skipped)) == (5, -1, 4)
    assert int(state.count) == BATCH and int(optimizer.iterations) == 1
    assert changed(before, values(network)) == {variable.path for variable in variables}
    after = values(network)
    step(bad, targets)
    assert (int(state.step), int(state.failed_step)) == (5, 5)
    step(good, targets)
    assert not changed(after, values(network))


def test_the_slices_give_the_gradients_of_the_step_and_change_nothing(network):
    variables, engine, step, state = phase_of(network, THAWED, "sgd", 1.0, dropout=0.5)
    compute = make_slice_step(step.learner, trace_slice(step.learner))
    images, targets = batch()
    features = engine.prefix(images)
    before = values(network)
    computed = compute(Batch(features, targets, len(targets)), 0)
    gradients = outcome_of(step.learner, computed).gradients
    assert not changed(before, values(network)) and int(state.step) == 0
    step(features, targets)
    for variable, gradient in zip(variables, gradients, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), before[variable.path] - gradient.numpy(), rtol=1e-4, atol=1e-5
        )


def test_a_gradient_that_is_not_finite_changes_nothing_even_if_the_loss_is(network):
    root = keras.Variable(0.0)  # where the square root is finite and its slope is not
    engine = Engine(
        prefix=lambda images: images,
        signature=tf.TensorSpec((None, 1280)),
        suffix=lambda features, weights: features + tf.sqrt(root.value),
    )
    variables = [root, *freeze(network, None)]
    learner = learner_of(
        network, None, engine=engine, variables=variables, scales=[1.0] * 3, dropout=0.0
    )
    step = Steps(learner)
    state = step.state
    before = values(network)
    step(tf.ones((BATCH, 1280)), batch()[1])
    assert int(state.failed_step) == 0
    assert float(root) == 0.0 and not changed(before, values(network))


def test_the_evaluation_step_computes_logits_without_dropout(network):
    freeze(network, None)
    engine = cut(network, None, "auto", 2)
    images, _ = batch()
    logits = make_evaluation_step(engine, network)(engine.prefix(images))
    np.testing.assert_allclose(logits, network.model(images.astype(np.float32)), atol=1e-3)


STEPS = st.integers(0, 10_000)
SEEDS = st.integers(0, 10_000)


def dropped(pooled, rate, seed, step, first=0):
    return drop(tf.constant(pooled), rate, seed, tf.constant(step, tf.int64), first).numpy()


@few
@given(st.integers(1, 12), st.data(), SEEDS, STEPS)
def test_a_slice_of_a_batch_is_dropped_as_within_the_whole(count, data, seed, step):
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    pooled = np.random.default_rng(0).normal(size=(count, 40)).astype(np.float32)
    whole = dropped(pooled, 0.5, seed, step)
    np.testing.assert_array_equal(
        dropped(pooled[start:end], 0.5, seed, step, start), whole[start:end]
    )


@few
@given(SEEDS, STEPS)
def test_the_mask_depends_on_seed_step_and_position(seed, step):
    ones = np.ones((2, 64), np.float32)
    mask = dropped(ones, 0.5, seed, step)
    np.testing.assert_array_equal(dropped(ones, 0.5, seed, step), mask)
    assert not np.array_equal(mask[0], mask[1])
    assert not np.array_equal(dropped(ones, 0.5, seed, step + 1), mask)
    assert not np.array_equal(dropped(ones, 0.5, seed + 1, step), mask)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_the_given_part_is_dropped_and_the_rest_scaled_up_to_keep_the_mean(rate):
    result = dropped(np.ones((100, 1000), np.float32), rate, 0, 0)
    assert np.mean(result == 0.0) == pytest.approx(rate, abs=0.01)
    np.testing.assert_allclose(result[result != 0.0], 1 / (1 - rate), rtol=1e-6)
    assert result.mean() == pytest.approx(1.0, abs=0.03)


def test_a_rate_of_zero_drops_nothing():
    pooled = tf.constant([[1.0, 2.0]])
    assert drop(pooled, 0.0, 0, tf.constant(0, tf.int64)) is pooled


def test_training_drops_what_the_step_number_says(network):
    """The losses of a step are those of pooled features dropped by (seed, step)."""
    state = State()
    state.step.assign(17)
    _, engine, step, _ = phase_of(network, None, dropout=0.5, state=state)
    images, targets = batch()
    pooled = engine.prefix(images)
    logits = network.head(drop(pooled, 0.5, 0, tf.constant(17, tf.int64)))
    expected = float(np.sum(cross_entropy(logits, targets)))
    step(pooled, targets)
    assert float(state.loss_sum) == pytest.approx(expected, rel=1e-5)


def test_each_step_gives_what_is_measured_in_it(network):
    _, engine, step, _ = phase_of(network, None, rate=0.25, dropout=0.0)
    images, targets = batch()
    features = engine.prefix(images)
    first, second = step(features, targets), step(features, targets)
    names = {"loss", "accuracy", "gradient_norm", "learning_rate"}
    assert names <= set(first) == set(second)
    assert float(first["learning_rate"]) == float(second["learning_rate"]) == 0.25
    for found in (first, second):
        assert float(found["loss"]) > 0.0 and float(found["gradient_norm"]) > 0.0
    assert float(first["loss"]) != float(second["loss"])


def test_the_update_of_each_variable_is_scaled(network):
    _, engine, step, _ = phase_of(network, None, "adam", 0.1, dropout=0.0, scales=[0.5, 1.0])
    images, targets = batch()
    before = values(network)
    step(engine.prefix(images), targets)
    kernel, bias = (variable.path for variable in step.learner.variables)
    moved = {path: np.abs(values(network)[path] - before[path]) for path in (kernel, bias)}
    # The first update of Adam is as large as the rate, wherever the gradient is not zero.
    assert np.median(moved[kernel]) == pytest.approx(0.05, rel=1e-3)
    assert np.median(moved[bias]) == pytest.approx(0.1, rel=1e-3)


def test_averages_follow_the_weights(network):
    variables = freeze(network, None)
    averages = Averages(variables, 0.75)
    _, engine, step, _ = phase_of(network, None, rate=0.5, averages=averages)
    images, targets = batch()
    before = network.head.bias.numpy()
    step(engine.prefix(images), targets)
    expected = 0.75 * before + 0.25 * network.head.bias.numpy()
    np.testing.assert_allclose(averages.averages[1], expected, rtol=1e-6)
