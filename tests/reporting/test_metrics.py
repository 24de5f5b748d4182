import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.reporting.metrics import (
    McNemar,
    calibration,
    confusion_matrix,
    mcnemar,
    metrics,
    paired_interval,
    per_class,
    pr_auc,
    precision_recall_curve,
    roc_auc,
    roc_curve,
)

# Four examples whose figures can be done by hand: scores 0.9 +, 0.8 -, 0.6 +, 0.3 -.
POSITIVE = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.8, 0.6, 0.3])


@st.composite
def scored(draw):
    """Examples of both kinds, with many equal scores."""
    scores = draw(st.lists(st.integers(0, 6), min_size=2, max_size=30))
    positive = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    positive[:2] = [True, False]
    return np.array(positive), np.array(scores) / 6


def test_roc_by_hand():
    # Lowering the threshold: +, then -, then +, then -.
    x, y = roc_curve(POSITIVE, SCORES)
    assert list(zip(x, y, strict=True)) == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    # Of the four pairs of a positive and a negative, three are in the right order.
    assert roc_auc(POSITIVE, SCORES) == 0.75


def test_precision_and_recall_by_hand():
    recall, precision = precision_recall_curve(POSITIVE, SCORES)
    assert recall.tolist() == [0.5, 0.5, 1, 1]
    assert precision.tolist() == [1, 1 / 2, 2 / 3, 2 / 4]
    # Half of the positives come at precision 1, the other half at 2/3.
    assert pr_auc(POSITIVE, SCORES) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_precision_recall_and_f1_of_a_class_by_hand():
    counts = confusion_matrix(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 0]]
    first, second, third = per_class(counts)
    assert first == {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "count": 3}
    assert second == {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "count": 2}
    # Never there and never predicted: nothing can be said.
    assert third == {"precision": None, "recall": None, "f1": None, "count": 0}


def test_calibration_error_by_hand():
    # Ten predictions at 0.8 of which six are right, and ten at 1.0 that are all right.
    confidence = np.array([0.8] * 10 + [1.0] * 10)
    correct = np.array([True] * 6 + [False] * 4 + [True] * 10)
    found = calibration(correct, confidence)
    assert found.error == pytest.approx(0.5 * (0.8 - 0.6) + 0.5 * 0.0)
    assert found.count.sum() == 20 and found.count[11] == 10 and found.count[14] == 10
    assert found.accuracy[11] == 0.6 and found.confidence[14] == 1.0
    assert np.isnan(found.accuracy[0])


def test_a_perfectly_calibrated_set_has_no_error():
    assert calibration(np.array([True, True, True, False]), np.full(4, 0.75)).error == 0.0


def test_mcnemar_by_hand():
    # They differ on five images, on all of which the first is right: 2 * (1/2)**5.
    first, second = np.array([True] * 9 + [False]), np.array([True] * 4 + [False] * 6)
    assert mcnemar(first, second) == (5, 0, 2 / 32)
    assert mcnemar(second, first) == (0, 5, 2 / 32)
    assert mcnemar(first, first).p_value == 1.0


def test_mcnemar_of_many_images_does_not_overflow():
    first = np.arange(4000) % 2 == 0
    assert mcnemar(first, ~first).p_value == 1.0
    assert 0 <= mcnemar(np.ones(4000, bool), np.zeros(4000, bool)).p_value < 1e-300


@given(scored())
def test_the_roc_area_is_the_part_of_pairs_in_the_right_order(examples):
    positive, scores = examples
    pairs = scores[positive][:, np.newaxis] - scores[~positive]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert roc_auc(positive, scores) == pytest.approx(expected)


@given(scored(), st.randoms())
def test_areas_do_not_depend_on_the_order_of_the_examples(examples, random):
    positive, scores = examples
    order = list(range(len(scores)))
    random.shuffle(order)
    assert roc_auc(positive[order], scores[order]) == roc_auc(positive, scores)
    assert pr_auc(positive[order], scores[order]) == pr_auc(positive, scores)


@given(scored())
def test_a_classifier_turned_round_has_the_rest_of_the_roc_area(examples):
    positive, scores = examples
    assert roc_auc(positive, -scores) == pytest.approx(1 - roc_auc(positive, scores))


def test_all_figures_of_two_classes_are_those_of_the_second():
    probabilities = np.stack([1 - SCORES, SCORES], axis=1)
    labels = POSITIVE.astype(int)
    found = metrics(labels, (SCORES > 0.5).astype(int), probabilities, ["cats", "dogs"])
    assert found["roc_auc"] == found["per_class"]["dogs"]["roc_auc"] == 0.75
    assert found["pr_auc"] == found["per_class"]["dogs"]["pr_auc"] == pytest.approx(5 / 6)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert found["confusion"] == {"cats": {"cats": 1, "dogs": 1}, "dogs": {"dogs": 2}}


def test_balanced_accuracy_does_not_reward_the_larger_class():
    labels, predicted = np.array([0] * 90 + [1] * 10), np.zeros(100, int)
    probabilities = np.tile([0.9, 0.1], (100, 1))
    assert metrics(labels, predicted, probabilities, ["a", "b"])["balanced_accuracy"] == 0.5


def test_what_is_undefined_is_none_rather_than_a_number():
    found = metrics(np.zeros(3, int), np.zeros(3, int), np.tile([0.9, 0.1], (3, 1)), ["a", "b"])
    assert found["roc_auc"] is None and found["pr_auc"] is None
    assert found["per_class"]["b"]["precision"] is None
    assert found["balanced_accuracy"] == 1.0


def test_more_classes_are_averaged_each_against_the_others():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    probabilities = random.dirichlet(np.ones(3), 60) + np.eye(3)[labels] * 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = metrics(labels, probabilities.argmax(1), probabilities, ["a", "b", "c"])
    areas = [row["roc_auc"] for row in found["per_class"].values()]
    assert found["roc_auc"] == pytest.approx(np.mean(areas)) and len(set(areas)) == 3
    assert not math.isclose(found["roc_auc"], found["pr_auc"])


def test_the_interval_of_a_difference_in_pairs_by_hand():
    # With half an image in each cell 8.5 gained, 2.5 lost, of 102: 6 / 102, and for the deviation
    # sqrt(11 - 36 / 102) / 102 = 0.0319900, times 1.959964.
    low, high = paired_interval(McNemar(2, 8, 0.11), 100)
    assert (low, high) == pytest.approx((6 / 102 - 0.0626992, 6 / 102 + 0.0626992), abs=1e-6)
    assert paired_interval(McNemar(8, 2, 0.11), 100) == pytest.approx((-high, -low))


def test_the_interval_of_a_difference_holds_it_in_95_of_100_simulations():
    random = np.random.Generator(np.random.Philox(key=5))
    held = 0
    for gained, lost in random.multinomial(200, [0.03, 0.01, 0.96], 2000)[:, :2]:
        low, high = paired_interval(McNemar(int(lost), int(gained), 1.0), 200)
        held += low <= 0.02 <= high
    assert 0.93 <= held / 2000 <= 0.98
