"""Which number a figure shows, of evaluations in which all of them differ."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch

from lib.reporting import diagnostics
from lib.reporting.plots import BLUE, VERMILLION
from tests.reporting.unlike import (
    THREE,
    THREE_CONFUSION,
    THREE_LEAST_CERTAIN,
    THREE_WORST,
    TWO,
    TWO_PRECISION_RECALL,
    TWO_RELIABILITY,
    TWO_RELIABILITY_COUNTS,
    TWO_ROC,
    Explained,
)


def lines(axes):
    return {line.get_label(): np.transpose(line.get_data()) for line in axes.get_lines()}


def test_the_roc_of_two_classes_is_that_of_the_second():
    figure = diagnostics.roc(TWO.labels, TWO.probabilities, TWO.classes)
    for axes in figure.axes:
        found = lines(axes)
        np.testing.assert_allclose(found["bees (area 0.8333)"], TWO_ROC)
        np.testing.assert_array_equal(found["chance"], [(0, 0), (1, 1)])
        assert axes.get_xlabel() == "false positive rate"
        assert axes.get_ylabel() == "true positive rate"


def test_precision_and_recall_of_two_classes_are_those_of_the_second_as_is_chance():
    figure = diagnostics.precision_recall(TWO.labels, TWO.probabilities, TWO.classes)
    for axes in figure.axes:
        found = lines(axes)
        np.testing.assert_allclose(found["bees (area 0.8333)"][1:], TWO_PRECISION_RECALL)
        # Whoever calls all five a bee is right with two.
        np.testing.assert_allclose(found["chance"][:, 1], 2 / 5)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")


@pytest.mark.parametrize(
    ("curve", "area"),
    [
        (diagnostics.roc, lambda x, y: np.trapezoid(y, x)),
        (diagnostics.precision_recall, lambda x, y: np.sum(np.diff(x) * y[1:])),
    ],
)
def test_each_curve_of_more_classes_has_the_area_that_its_label_says(curve, area):
    figure = curve(THREE.labels, THREE.probabilities, THREE.classes)
    found = {name: points for name, points in lines(figure.axes[0]).items() if name != "chance"}
    areas = {name: area(*points.T) for name, points in found.items()}
    assert sorted(name.split()[0] for name in found) == sorted(THREE.classes)
    for name, size in areas.items():
        assert f"(area {size:.4f})" in name
    assert len({round(size, 4) for size in areas.values()}) == 3
    assert list(areas.values()) == sorted(areas.values())  # the hardest first


def test_of_many_classes_the_hardest_are_kept():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), np.arange(3, 13))
    # The higher its number, the easier a class is recognised.
    logits = random.normal(size=(len(labels), 10)) + np.eye(10)[labels] * labels[:, np.newaxis]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = [f"class {k}" for k in range(10)]
    figure = diagnostics.roc(labels, probabilities, classes)
    drawn = {name.partition(" (")[0] for name in lines(figure.axes[0])} - {"chance"}
    positive = [(labels == k)[:, np.newaxis] for k in range(10)]
    areas = [
        np.mean(probabilities[p[:, 0], k, np.newaxis] > probabilities[~p[:, 0], k])
        for k, p in enumerate(positive)
    ]
    assert drawn == {f"class {k}" for k in np.argsort(areas)[:8]}


def test_the_reliability_diagram_has_probabilities_across_and_accuracies_upwards():
    figure = diagnostics.reliability(TWO.labels, TWO.predicted, TWO.probabilities)
    axes, below = figure.axes
    *_, points = axes.collections
    np.testing.assert_allclose(points.get_offsets(), TWO_RELIABILITY)
    (bars,) = below.findobj(StepPatch)
    assert {k: n for k, n in enumerate(bars.get_data().values) if n} == TWO_RELIABILITY_COUNTS
    np.testing.assert_allclose(bars.get_data().edges, np.arange(16) / 15)
    # Distances 0.4, 0.3, twice 0.3 in the bin that is half right, and 0.1.
    assert "calibration error 0.280" in figure.get_suptitle()


def test_each_gallery_shows_its_own_images_with_heat_for_what_was_predicted():
    explain = Explained()
    drawn = dict(diagnostics.figures(THREE, explain))
    for name, positions, asked in zip(
        ("mistakes", "least_certain"),
        (THREE_WORST, THREE_LEAST_CERTAIN[: diagnostics.GALLERY]),
        explain.asked,
        strict=True,
    ):
        assert asked == [(n, THREE.predicted[n]) for n in positions]
        for axes, n in zip(drawn[name].axes, positions, strict=True):
            true, predicted = THREE.classes[THREE.labels[n]], THREE.classes[THREE.predicted[n]]
            sure = f"{THREE.probabilities[n].max() * 100:.1f} %"
            assert axes.get_title(loc="left") == f"{predicted} {sure}\ntrue: {true}"
            colour = to_hex(axes._left_title.get_color(), keep_alpha=False).upper()
            assert colour == (BLUE if true == predicted else VERMILLION)
            assert axes.images[0].get_array()[0, 0, 0] == 10 * n


def test_the_confusion_matrix_has_true_classes_down_and_predicted_ones_across():
    (axes,) = dict(diagnostics.figures(THREE, Explained()))["confusion"].axes
    for text in axes.texts:
        column, row = text.get_position()
        assert text.get_text().split("\n")[0] == str(THREE_CONFUSION[row][column])
