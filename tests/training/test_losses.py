import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.data.examples import one_hot_targets
from lib.errors import UserError
from lib.training.losses import (
    LOSSES,
    answers,
    class_weights,
    cross_entropy,
    focal,
    make_loss,
    predicted_classes,
    probabilities,
    true_classes,
)

LOGITS = st.floats(-30, 30, width=32)


@st.composite
def batches(draw):
    """Logits, labels and what the losses are weighted with, for two to five classes."""
    count, classes = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    shape = (count, 1 if classes == 2 else classes)
    logits = draw(hnp.arrays(np.float32, shape, elements=LOGITS))
    labels = draw(hnp.arrays(np.int32, count, elements=st.integers(0, classes - 1)))
    weights = draw(hnp.arrays(np.float32, count, elements=st.floats(-2, 2, width=32)))
    return logits, labels, weights


def tensorflows_own(logits, targets):
    if logits.shape[1] == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)[:, 0]
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def loss_and_gradient(function, logits, labels, weights):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = function(logits, one_hot_targets(labels, max(2, logits.shape[1])))
        total = tf.reduce_sum(losses * weights)
    return losses, tape.gradient(total, logits)


@given(batches())
def test_the_closed_form_equals_tensorflows_loss_and_its_gradient(batch):
    losses, gradient = loss_and_gradient(cross_entropy, *batch)
    expected_losses, expected_gradient = loss_and_gradient(tensorflows_own, *batch)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@given(batches())
def test_the_gradient_of_the_mean_is_probability_minus_truth(batch):
    logits, labels, _ = batch
    _, gradient = loss_and_gradient(cross_entropy, logits, labels, np.float32(1 / len(labels)))
    classes = 2 if logits.shape[1] == 1 else logits.shape[1]
    truth = np.eye(classes, dtype=np.float32)[labels]
    expected = (probabilities(tf.constant(logits)) - truth)[:, -logits.shape[1] :] / len(labels)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_have_finite_losses_and_gradients(classes, size):
    logits = np.full((2, classes), size, np.float32)
    logits[:, 0] *= -1
    losses, gradient = loss_and_gradient(cross_entropy, logits, np.int32([0, 1]), np.ones(2, "f4"))
    assert losses.dtype == tf.float32
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()
    assert max(losses) >= 1e4


@given(batches())
def test_probabilities_are_one_a_class_and_sum_to_one(batch):
    logits = tf.constant(batch[0])
    classes = 2 if logits.shape[1] == 1 else logits.shape[1]
    found = probabilities(logits).numpy()
    assert found.shape == (len(logits), classes)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@given(batches())
def test_the_loss_is_the_negative_logarithm_of_the_true_classs_probability(batch):
    logits, labels, _ = batch
    picked = probabilities(tf.constant(logits)).numpy()[np.arange(len(labels)), labels]
    losses = cross_entropy(tf.constant(logits), one_hot_targets(labels, max(2, logits.shape[1])))
    np.testing.assert_allclose(losses, -np.log(picked), rtol=1e-3, atol=1e-5)


def test_one_logit_above_zero_means_the_second_class():
    found = predicted_classes(tf.constant([[-0.1], [0.0], [0.1]]))
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == [0, 0, 1]


def test_of_several_logits_the_largest_decides():
    logits = tf.constant([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [-3.0, -2.0, -1.0]])
    found = predicted_classes(logits)
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == [1, 0, 2]


@given(batches(), st.integers(0, 7))
def test_answers_are_classes_and_probabilities_whatever_the_place_in_a_batch(batch, before):
    logits, _, _ = batch
    classes, chances = answers(tf.constant(logits))
    assert (classes.dtype, chances.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(classes, predicted_classes(tf.constant(logits)))
    np.testing.assert_allclose(chances, probabilities(tf.constant(logits)), rtol=1e-5, atol=1e-30)
    shifted = np.concatenate([np.zeros((before, logits.shape[1]), np.float32), logits])
    np.testing.assert_array_equal(answers(tf.constant(shifted))[1][before:], chances)


# Further out, the probabilities that are taken from 1 in double precision round to it.
MODERATE = st.floats(-12, 12, width=32)


@st.composite
def mixed_batches(draw):
    """Logits and mixed targets that sum to one, for two to five classes."""
    count, classes = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    shares = draw(hnp.arrays(np.float32, (count, classes), elements=st.floats(0, 1, width=32)))
    targets = (shares + 0.01) / (shares + 0.01).sum(1, keepdims=True)
    columns = 1 if classes == 2 else classes
    logits = draw(hnp.arrays(np.float32, (count, columns), elements=MODERATE))
    return logits, targets[:, -columns:].astype(np.float32)


def in_double_precision(loss, logits, targets):
    """A loss of class probabilities' logarithms and targets, and its gradient, in float64."""
    logits, targets = tf.constant(logits, tf.float64), tf.constant(targets, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        several = logits
        if logits.shape[1] == 1:
            several = tf.concat([tf.zeros_like(logits), logits], axis=1)
            targets = tf.concat([1 - targets, targets], axis=1)
        losses = tf.reduce_sum(loss(tf.nn.log_softmax(several), targets), axis=1)
    return losses, tape.gradient(losses, logits)


def in_single_precision(function, logits, targets):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = function(logits, tf.constant(targets))
    return losses, tape.gradient(losses, logits)


def assert_both_close(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-5)


def test_label_smoothing_by_hand():
    # Two classes, p = 0.8, target 1 * 0.9 + 0.05: -(0.95 ln 0.8 + 0.05 ln 0.2).
    two = cross_entropy(tf.constant([[np.log(4.0)]], tf.float32), tf.constant([[1.0]]), 0.1)
    assert float(two[0]) == pytest.approx(0.95 * 0.22314355 + 0.05 * 1.60943791)
    # Four classes, p = 0.7, 0.1, 0.1, 0.1, targets 0.85, 0.05, 0.05, 0.05.
    logits = tf.math.log(tf.constant([[0.7, 0.1, 0.1, 0.1]]))
    four = cross_entropy(logits, tf.constant([[1.0, 0.0, 0.0, 0.0]]), label_smoothing=0.2)
    assert float(four[0]) == pytest.approx(0.85 * 0.35667494 + 0.15 * 2.30258509)


@given(mixed_batches(), st.floats(0, 1))
def test_smoothed_cross_entropy_equals_automatic_differentiation(batch, smoothing):
    def expected(log_p, targets):
        return -(targets * (1 - smoothing) + smoothing / targets.shape[1]) * log_p

    found = in_single_precision(lambda *both: cross_entropy(*both, smoothing), *batch)
    assert_both_close(found, in_double_precision(expected, *batch))


def test_focal_loss_by_hand():
    # p = 0.8: 0.2^2 * -ln 0.8, for class 1 and, with the logit's sign turned, for class 0.
    logits = tf.constant([[np.log(4.0)], [-np.log(4.0)]], tf.float32)
    found = focal(logits, tf.constant([[1.0], [0.0]]))
    np.testing.assert_allclose(found, [0.04 * 0.22314355] * 2, rtol=1e-5)
    weighted = focal(logits, tf.constant([[1.0], [0.0]]), alpha=0.25)
    np.testing.assert_allclose(weighted / found, [0.25, 0.75], rtol=1e-5)
    three = focal(tf.math.log([[0.5, 0.3, 0.2]]), tf.constant([[0.0, 1.0, 0.0]]), 1.0, [1, 3, 1])
    assert float(three[0]) == pytest.approx(3 * 0.7 * 1.20397280)


@given(mixed_batches(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
def test_focal_loss_equals_automatic_differentiation(batch, gamma):
    def expected(log_p, targets):
        return targets * (-tf.math.expm1(log_p)) ** gamma * -log_p

    found = in_single_precision(lambda *both: focal(*both, gamma), *batch)
    logits, targets = batch
    assert_both_close(found, in_double_precision(expected, logits, targets))


@given(mixed_batches())
def test_focal_loss_of_gamma_zero_is_cross_entropy(batch):
    found = in_single_precision(lambda *both: focal(*both, 0.0), *batch)
    assert_both_close(found, in_single_precision(cross_entropy, *batch))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("columns", [1, 3])
def test_focal_loss_of_extreme_logits_is_finite(columns, gamma):
    logits = np.full((2, columns), 1e4, np.float32)
    logits[1, 0] = -1e4
    targets = one_hot_targets(tf.constant([0, 0]), max(2, columns))
    losses, gradient = in_single_precision(lambda *both: focal(*both, gamma), logits, targets)
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cross_entropy(label_smoothing=1.5)", "label_smoothing=1.5: expected a number from 0 to"),
        ("cross_entropy(-0.1)", "label_smoothing=-0.1"),
        ("cross_entropy('much')", "is not of the kind of 0.0"),
        ("cross_entropy(smoothing=0.1)", r"expected cross_entropy\(label_smoothing=0.0\)"),
        ("focl(2.0)", "no loss 'focl'; did you mean focal"),
        ("focal(gamma=-1)", "gamma=-1"),
        ("focal(alpha=[1, 2])", r"alpha=\[1, 2\]: expected a list of 3 numbers"),
        ("focal(alpha=0.3)", "alpha=0.3: expected a list of 3"),
        ("focal(alpha='x')", "alpha='x'"),
    ],
)
def test_what_a_loss_does_not_take_is_said_at_once(text, said):
    with pytest.raises(UserError, match=said) as error:
        make_loss(text, columns=3)
    assert "\n" not in str(error.value)


def test_one_alpha_of_two_classes_is_from_zero_to_one():
    with pytest.raises(UserError, match="or a number from 0 to 1"):
        make_loss("focal(alpha=1.5)", columns=1)


@pytest.fixture
def register(monkeypatch):
    """Registers for the length of a test."""
    monkeypatch.setattr(LOSSES, "_functions", dict(LOSSES._functions))
    return LOSSES.register


def test_a_registered_loss_is_used(register):
    @register
    def brier(logits, targets, scale=1.0):
        return scale * tf.reduce_sum((tf.nn.softmax(logits) - targets) ** 2, axis=1)

    found = make_loss("brier(2)", columns=3)(tf.zeros([1, 3]), tf.constant([[1.0, 0.0, 0.0]]))
    assert float(found[0]) == pytest.approx(2 * (4 / 9 + 1 / 9 + 1 / 9))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda logits: logits, r"odd returned float32 \(2, 3\)"),
        (lambda logits: tf.reduce_mean(logits), r"odd returned float32 \(\)"),
        (lambda logits: tf.cast(logits[:, 0], tf.float64), "odd returned float64"),
        (lambda logits: logits.nothing, "odd: AttributeError: .*nothing"),
        (lambda logits: None, "odd: ValueError"),
    ],
)
def test_a_loss_that_is_not_one_number_an_example_is_refused(register, returned, said):
    @register
    def odd(logits, targets):
        return returned(logits)

    with pytest.raises(UserError, match=said) as error:
        make_loss("odd", columns=3)
    assert "\n" not in str(error.value)


def test_class_weights_count_by_the_targets_shares():
    logits = tf.constant([[0.0, 0.0, 0.0]] * 3)
    targets = tf.constant([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.25, 0.25]])
    plain = make_loss("cross_entropy")(logits, targets)
    weighted = make_loss("cross_entropy", (1.0, 2.0, 4.0))(logits, targets)
    np.testing.assert_allclose(weighted / plain, [1.0, 4.0, 2.0], rtol=1e-6)


def test_class_weights_of_one_logit_are_those_of_both_classes():
    logits, targets = tf.zeros([3, 1]), tf.constant([[0.0], [1.0], [0.25]])
    plain = make_loss("cross_entropy")(logits, targets)
    weighted = make_loss("cross_entropy", (3.0, 1.0))(logits, targets)
    np.testing.assert_allclose(weighted / plain, [3.0, 1.0, 2.5], rtol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    assert class_weights("balanced", ["a", "b", "c"], [10, 20, 70]) == (
        100 / 30,
        100 / 60,
        100 / 210,
    )
    assert class_weights("none", ["a", "b"], [1, 9]) is None


@pytest.mark.parametrize(
    ("text", "classes", "weights"),
    [
        ("cats:1,dogs:2", ["cats", "dogs"], (1.0, 2.0)),
        (" dogs: 2 , cats:0.5", ["cats", "dogs"], (0.5, 2.0)),
        ("a:b:1,a,c:2,a d:3", ["a:b", "a,c", "a d"], (1.0, 2.0, 3.0)),
        ("a:1,b:2,a:3", ["a", "b:2,a"], (1.0, 3.0)),
        ("a:1,b:7,b:2", ["b", "a:1,b"], (2.0, 7.0)),
        ("none:1,balanced:2e0", ["none", "balanced"], (1.0, 2.0)),
    ],
)
def test_each_class_can_be_given_its_weight_whatever_its_name(text, classes, weights):
    assert class_weights(text, classes, [1] * len(classes)) == weights


@given(st.lists(st.text("ab:, ", min_size=1).map(str.strip).filter(bool), min_size=2, unique=True))
def test_odd_names_are_read_right_or_refused(classes):
    weights = tuple(float(number + 1) for number in range(len(classes)))
    text = ",".join(f"{name}:{weight}" for name, weight in zip(classes, weights, strict=True))
    try:
        found = class_weights(text, classes, [1] * len(classes))
    except UserError as error:
        assert "two ways" in str(error)
    else:
        assert found == weights


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cats:1", "no weight for 'dogs'; expected cats:1,dogs:1"),
        ("cats:1,dog:2", "there is no class 'dog'; did you mean dogs"),
        ("cats:1,cats:2,dogs:1", "'cats' has two weights"),
        ("cats:1,dogs:0", "the weight of 'dogs' is '0'; expected a positive number"),
        ("cats:1,dogs:-1", "positive"),
        ("cats:1,dogs:inf", "positive"),
        ("cats:nan,dogs:1", "positive"),
        ("cats:x,dogs:1", "the weight of 'cats' is 'x'"),
        ("cats:,dogs:1", "the weight of 'cats' is ''"),
        ("balance", "expected none, balanced, or cats:1,dogs:1"),
        ("", "expected none, balanced"),
        ("cats:1,dogs:1,", "expected none, balanced"),
    ],
)
def test_class_weights_that_cannot_be_are_refused(text, said):
    with pytest.raises(UserError, match=said) as error:
        class_weights(text, ["cats", "dogs"], [1, 1])
    assert "\n" not in str(error.value)


def test_weights_that_can_be_read_in_two_ways_are_refused():
    with pytest.raises(UserError, match="can be read in two ways; rename a class"):
        class_weights("a:1,a:1,a:2", ["a", "a:1,a"], [1, 1])


def test_a_class_without_examples_has_no_balanced_weight():
    with pytest.raises(UserError, match="class 'dogs' has no training image"):
        class_weights("balanced", ["cats", "dogs"], [3, 0])


def test_the_true_class_is_the_likeliest_of_the_targets():
    assert true_classes(tf.constant([[0.4], [0.5], [0.6]])).numpy().tolist() == [0, 0, 1]
    several = true_classes(tf.constant([[0.4, 0.6, 0.0], [0.0, 0.2, 0.8]]))
    assert several.dtype == tf.int32 and several.numpy().tolist() == [1, 2]
