"""Which number TensorBoard is given, of evaluations in which all of them differ."""

import numpy as np
import pytest
import tensorflow as tf

from lib.reporting import reports as module
from lib.reporting.reports import Reports
from tests.reporting.unlike import THREE, THREE_WORST, TWO

STEP = 14


def curve(folder, split):
    """The precision-recall curve of a split: its step, description, and rows by threshold."""
    (found,) = (
        (event.step, value.metadata.summary_description, tf.make_ndarray(value.tensor))
        for path in folder.glob(f"tensorboard/{split}/*tfevents*")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for event in [tf.compat.v1.Event.FromString(record)]
        for value in event.summary.value
        if value.tag == "precision_recall/pr_curves"
    )
    return found


def counted(rows, *thresholds):
    """True and false positives at thresholds from 0 to 1."""
    last = rows.shape[1] - 1
    return [tuple(rows[:2, round(at * last)].astype(int).tolist()) for at in thresholds]


@pytest.fixture(params=["validation", "test"])
def shown(request, tmp_path):
    """A function that reports an evaluation of a split, and returns its curve."""

    def show(predictions):
        reports = Reports(tmp_path, -1, [])
        if request.param == "test":
            reports.test(predictions, {}, STEP)
        else:
            reports.validated(predictions, STEP)
        reports.close()
        return curve(tmp_path, request.param)

    return show


def test_of_two_classes_the_curve_is_that_of_the_second(shown):
    step, description, rows = shown(TWO)
    assert (step, description) == (STEP, "positive: bees")
    # Bees and ants that are taken for bees.
    assert counted(rows, 0, 0.25, 0.5, 0.7, 0.85) == [(2, 3), (2, 2), (2, 1), (1, 1), (1, 0)]


def test_of_more_classes_it_is_that_of_each_against_all_others(shown):
    step, description, rows = shown(THREE)
    assert (step, description) == (STEP, "each class against all others, pooled")
    # Above 0.75: an ant and a bee rightly, and an ant for a cicada and a cicada for a bee.
    assert counted(rows, 0, 0.75) == [(10, 20), (2, 2)]


def test_the_tiles_of_mistakes_are_the_surest_ones_and_those_of_predictions_the_first(
    tmp_path, monkeypatch
):
    drawn = []

    def tiles(images, true, predicted, sure):
        drawn.append([int(level) // 10 for level in images[:, 0, 0, 0]])
        assert true == [THREE.classes[THREE.labels[n]] for n in drawn[-1]]
        assert predicted == [THREE.classes[THREE.predicted[n]] for n in drawn[-1]]
        np.testing.assert_array_equal(sure, THREE.probabilities[drawn[-1]].max(axis=1))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(module, "tiles", tiles)
    reports = Reports(tmp_path, -1, [])
    reports.validated(THREE, STEP)
    reports.close()
    assert drawn == [list(range(8)), THREE_WORST]
