import numpy as np
import pytest
from matplotlib.text import Text

from lib.reporting import diagnostics, plots
from lib.reporting.predictions import Predictions


def predictions(classes, count=60, wrong=True):
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    logits = random.normal(size=(count, classes)) + (2 if wrong else 20) * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        classes=[f"class {k}" for k in range(classes)],
        names=[f"{n}.jpg" for n in range(count)],
        pixels=lambda at: random.integers(0, 256, (len(at), 32, 32, 3), np.uint8),
        labels=labels,
        predicted=probabilities.argmax(axis=1),
        probabilities=probabilities,
    )


def explain(images, classes):
    return np.linspace(0, 1, 16 * len(images)).reshape(-1, 4, 4)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_every_figure_of_an_evaluation_is_as_wide_as_a_readme(classes):
    drawn = dict(diagnostics.figures(predictions(classes), explain))
    assert list(drawn) == [
        *("predictions", "confusion", "roc", "precision_recall", "reliability"),
        *("mistakes", "least_certain"),
    ]
    for figure in drawn.values():
        assert plots.pixels(figure).shape[1] == 800


def test_the_curves_of_two_classes_are_of_the_second_with_its_area():
    some = predictions(2)
    legend = texts(diagnostics.roc(some.labels, some.probabilities, some.classes))
    assert "class 1 (area 0." in legend and "class 0" not in legend


def test_of_many_classes_the_hardest_are_drawn_and_the_title_says_so():
    some = predictions(12)
    figure = diagnostics.precision_recall(some.labels, some.probabilities, some.classes)
    assert "8 hardest of 12" in texts(figure)
    assert len({line.get_label() for line in figure.axes[0].get_lines()}) == 8


def test_curves_that_the_labels_leave_undefined_are_not_drawn():
    some = predictions(2)
    only_one = np.zeros_like(some.labels)
    assert diagnostics.roc(only_one, some.probabilities, some.classes) is None
    assert diagnostics.precision_recall(only_one, some.probabilities, some.classes) is None


def test_the_reliability_diagram_states_the_error():
    some = predictions(2)
    title = texts(diagnostics.reliability(some.labels, some.predicted, some.probabilities))
    assert "expected calibration error 0." in title


def test_a_set_without_mistakes_has_an_empty_gallery_that_says_so():
    assert "none" in texts(
        dict(diagnostics.figures(predictions(2, wrong=False), explain))["mistakes"]
    )


def test_a_gallery_shows_each_image_beside_its_heat():
    image = np.full((8, 8, 3), 90, np.uint8)
    pair = diagnostics.side_by_side(image, np.eye(8))
    assert pair.shape == (8, 8 + 4 + 8, 3) and pair.dtype == np.uint8
    np.testing.assert_array_equal(pair[:, :8], image)
    assert pair[0, 12].tolist() != pair[0, 19].tolist()
