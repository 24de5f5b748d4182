import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lib.config import Config
from lib.inference import predictions as module
from lib.inference.predictions import predictions
from lib.inference.reading import Read

CLASSES = ("ants", "bees", "cicadas")
# Of seven images, whose level is their number: a class each, most often bees.
LIKELIEST = [1, 0, 1, 2, 1, 2, 1]
PROBABILITIES = np.array(
    [
        [0.2, 0.7, 0.1],
        [0.5, 0.1, 0.4],
        [0.3, 0.6, 0.1],
        [0.05, 0.15, 0.8],
        [0.01, 0.9, 0.09],
        [0.35, 0.25, 0.4],
        [0.3, 0.45, 0.25],
    ],
    np.float32,
)


@dataclasses.dataclass
class Fake:
    """Stands for a trained run that knows the seven images."""

    config = Config(batch_size=3)
    classes = CLASSES
    network = None


@pytest.fixture
def seven(monkeypatch):
    """What is said of the seven images, and the batches that heat was asked for."""
    asked = []

    def classify(pixels):
        assert len(pixels) <= 3
        at = pixels[:, 0, 0, 0]
        return np.array(LIKELIEST, np.int32)[at], PROBABILITIES[at]

    def heat(pixels, classes):
        levels = pixels[:, 0, 0, 0].astype(int)
        asked.append((levels.tolist(), classes.tolist()))
        return np.broadcast_to(
            (10 * levels + classes)[:, np.newaxis, np.newaxis], (len(levels), 2, 2)
        )

    monkeypatch.setattr(module, "make_classifier", lambda _: classify)
    monkeypatch.setattr(module, "make_gradcam", lambda _: heat)

    def tell(explain):
        reads = (
            Read(Path(f"{n}.jpg"), np.full((4, 4, 3), n, np.uint8), None, "") for n in range(7)
        )
        return list(predictions(Fake(), reads, explain)), asked

    return tell


def test_each_image_has_its_own_class_and_probabilities_in_the_order_given(seven):
    found, _ = seven(False)
    assert [each.path.name for each in found] == [f"{n}.jpg" for n in range(7)]
    assert [each.name for each in found] == [CLASSES[k] for k in LIKELIEST]
    for each, k, probabilities in zip(found, LIKELIEST, PROBABILITIES, strict=True):
        assert each.probability == probabilities[k]
        assert each.probabilities == dict(zip(CLASSES, probabilities.tolist(), strict=True))
        assert each.heat is None


def test_heat_is_for_the_class_that_is_predicted_for_that_image(seven):
    found, asked = seven(True)
    assert sorted(asked) == [
        ([0, 1, 2], LIKELIEST[:3]),
        ([3, 4, 5], LIKELIEST[3:6]),
        ([6], LIKELIEST[6:]),
    ]
    assert [each.heat[0, 0] for each in found] == [10 * n + k for n, k in enumerate(LIKELIEST)]
