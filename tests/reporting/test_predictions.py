import numpy as np
import pytest

from lib.reporting.predictions import Predictions, percent
from tests.reporting.unlike import THREE, THREE_LEAST_CERTAIN, THREE_WORST


def predictions(labels, probabilities):
    probabilities = np.array(probabilities)
    return Predictions(
        classes=("ants", "bees"),
        names=[f"{n}.jpg" for n in range(len(labels))],
        pixels=lambda positions: np.zeros((len(positions), 8, 8, 3), np.uint8),
        labels=np.array(labels),
        predicted=probabilities.argmax(axis=1),
        probabilities=probabilities,
    )


SOME = predictions(
    [0, 0, 1, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.95, 0.05], [0.4, 0.6], [0.45, 0.55]]
)


def test_the_surest_mistakes_come_first():
    assert SOME.worst_mistakes(9).tolist() == [2, 1, 4]
    assert SOME.worst_mistakes(1).tolist() == [2]


def test_the_least_certain_come_first_whether_right_or_wrong():
    assert SOME.least_certain(2).tolist() == [4, 3]


def test_equal_certainty_keeps_the_order_of_the_set():
    same = predictions([0, 0, 0], [[0.3, 0.7]] * 3)
    assert same.worst_mistakes(3).tolist() == same.least_certain(3).tolist() == [0, 1, 2]


def test_words_are_those_of_the_classes():
    true, predicted, certainty = SOME.words(np.array([0, 2]))
    assert (true, predicted) == (["ants", "bees"], ["ants", "ants"])
    assert certainty.tolist() == [0.9, 0.95]


def test_first_is_no_more_than_there_are():
    assert SOME.first(2).tolist() == [0, 1] and len(SOME.first(99)) == 5


@pytest.mark.parametrize(
    ("probability", "decimals", "said"),
    [
        (0.994, 0, "99 %"),
        (0.996, 0, ">99 %"),
        (1.0, 0, ">99 %"),
        (0.9994, 1, "99.9 %"),
        (0.9996, 1, ">99.9 %"),
        (0.5, 1, "50.0 %"),
    ],
)
def test_rounding_makes_no_certainty(probability, decimals, said):
    assert percent(probability, decimals) == said


def test_of_three_classes_the_least_certain_has_the_closest_second_class_and_not_the_smallest_top():
    assert THREE.least_certain(10).tolist() == THREE_LEAST_CERTAIN
    assert THREE.worst_mistakes(10).tolist() == THREE_WORST
