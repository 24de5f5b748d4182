import numpy as np
import pytest
import tensorflow as tf

from lib.errors import Stopped
from lib.training.evaluation import evaluate
from lib.training.feed import EvaluationBatch


class Never:
    """A request to stop that nobody makes."""

    def raise_if_requested(self):
        pass


class After(Never):
    """A request to stop that is made before a certain batch."""

    def __init__(self, batches):
        self.left = batches

    def raise_if_requested(self):
        self.left -= 1
        if self.left < 0:
            raise Stopped(2)


def step(features):
    """The features are the logits."""
    return features


class Feed:
    """A feed of logits; as a real one does, it fills batches up with what no label belongs to."""

    def __init__(self, logits, labels, size):
        self.examples, self.batch_size = len(labels), size
        self.labels, self.columns = labels, logits.shape[1]
        filled_up = np.concatenate([logits, np.full((-len(labels) % size, self.columns), 9.0)])
        self._batches = [
            EvaluationBatch(
                tf.constant(filled_up[i : i + size], tf.float32), tf.constant(labels[i : i + size])
            )
            for i in range(0, len(labels), size)
        ]

    def __iter__(self):
        return iter(self._batches)


LOGITS = np.float32([[2.0], [-1.0], [0.5], [-3.0], [0.1]])
LABELS = np.int32([1, 1, 0, 0, 1])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_figures_are_over_all_images_however_they_are_cut_into_batches(size):
    found = evaluate(Feed(LOGITS, LABELS, size), step, Never())
    assert found.count == 5
    assert found.predicted.tolist() == [1, 0, 1, 0, 1]
    assert (found.correct, found.accuracy) == (3, 0.6)
    signs = np.where(LABELS == 1, 1, -1)
    assert found.loss == pytest.approx(np.mean(np.log1p(np.exp(-signs * LOGITS[:, 0]))), rel=1e-6)


def test_each_image_has_its_own_line_in_the_order_of_the_set():
    found = evaluate(Feed(LOGITS, LABELS, 2), step, Never())
    assert found.labels.tolist() == LABELS.tolist()
    expected = 1 / (1 + np.exp(-LOGITS[:, 0]))
    np.testing.assert_allclose(
        found.probabilities, np.stack([1 - expected, expected], 1), rtol=1e-5
    )


def test_three_classes_have_three_probabilities_each():
    logits = np.float32([[5, 0, 0], [0, 5, 0], [0, 0, 5], [5, 0, 0]])
    found = evaluate(Feed(logits, np.int32([0, 1, 2, 2]), 3), step, Never())
    assert found.predicted.tolist() == [0, 1, 2, 0]
    assert found.accuracy == 0.75
    assert found.probabilities.shape == (4, 3)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_evaluation_can_be_stopped_between_any_two_batches(after):
    with pytest.raises(Stopped):
        evaluate(Feed(LOGITS, LABELS, 2), step, After(after))
