import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lib.data.examples import one_hot_targets
from lib.training.losses import (
    answers,
    cross_entropy,
    likeliest_classes,
    predicted_classes,
    probabilities,
)


def by_label(logits, labels):
    """The loss of examples that are of one class each."""
    classes = max(2, logits.shape[1])
    return cross_entropy(logits, one_hot_targets(labels, classes))


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


def tensorflows_own(logits, labels):
    if logits.shape[1] == 1:
        targets = tf.cast(labels, tf.float32)[:, tf.newaxis]
        return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)[:, 0]
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def loss_and_gradient(function, logits, labels, weights):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = function(logits, tf.constant(labels))
        total = tf.reduce_sum(losses * weights)
    return losses, tape.gradient(total, logits)


@given(batches())
def test_the_closed_form_equals_tensorflows_loss_and_its_gradient(batch):
    losses, gradient = loss_and_gradient(by_label, *batch)
    expected_losses, expected_gradient = loss_and_gradient(tensorflows_own, *batch)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@given(batches())
def test_the_gradient_of_the_mean_is_probability_minus_truth(batch):
    logits, labels, _ = batch
    _, gradient = loss_and_gradient(by_label, logits, labels, np.float32(1 / len(labels)))
    classes = 2 if logits.shape[1] == 1 else logits.shape[1]
    truth = np.eye(classes, dtype=np.float32)[labels]
    expected = (probabilities(tf.constant(logits)) - truth)[:, -logits.shape[1] :] / len(labels)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_have_finite_losses_and_gradients(classes, size):
    logits = np.full((2, classes), size, np.float32)
    logits[:, 0] *= -1
    losses, gradient = loss_and_gradient(by_label, logits, np.int32([0, 1]), np.ones(2, "f4"))
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
    losses = by_label(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(losses, -np.log(picked), rtol=1e-3, atol=1e-5)


def test_the_loss_of_a_mixed_target_is_that_of_its_classes_mixed():
    for logits, targets in (([[1.5]], [[0.3]]), ([[1.0, -2.0, 0.5]], [[0.7, 0.0, 0.3]])):
        logits, targets = np.float32(logits), np.float32(targets)
        of_each = by_label(
            logits.repeat(max(2, logits.shape[1]), 0), tf.range(max(2, logits.shape[1]))
        )
        shares = targets[0] if logits.shape[1] > 1 else np.append(1 - targets[0], targets[0])
        np.testing.assert_allclose(
            cross_entropy(logits, targets)[0], np.sum(shares * of_each), rtol=1e-5
        )


def test_the_likeliest_class_of_a_target_is_the_largest_and_of_two_that_above_one_half():
    assert likeliest_classes(tf.constant([[0.4], [0.5], [0.6]])).numpy().tolist() == [0, 0, 1]
    assert likeliest_classes(tf.constant([[0.2, 0.5, 0.3]])).numpy().tolist() == [1]


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
