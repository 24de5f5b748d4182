import math
from pathlib import Path

import numpy as np
import pytest

from lib.config import Config
from lib.data.dataset import Subset
from lib.errors import Stopped
from lib.inference.outcome import evaluate_trained, summary
from lib.inference.trained import Trained
from lib.reporting.result import wilson_interval
from lib.training.evaluation import Evaluation

CLASSES = ("ants", "bees")


def test_a_summary_has_the_loss_and_the_accuracy_with_its_interval():
    labels, predicted = np.int32([0, 1, 1, 0]), np.int32([0, 1, 0, 0])
    probabilities = np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = summary(Evaluation(0.25, labels, predicted, probabilities), CLASSES)
    assert (found["loss"], found["accuracy"], found["count"]) == (0.25, 0.75, 4)
    assert found["accuracy_interval"] == list(wilson_interval(3, 4))


def subset(classes):
    class Store:
        size = 32

        def pixels(self, rows):
            return np.random.default_rng(1).integers(0, 256, (7, 32, 32, 3), np.uint8)[rows]

    names = tuple(f"{i}.png" for i in range(7))
    return Subset(
        classes, names, np.arange(7, dtype=np.int32) % len(classes), np.arange(7), Store()
    )


class Stop:
    def __init__(self, raises=False):
        self.raises = raises

    def raise_if_requested(self):
        if self.raises:
            raise Stopped(2)


def trained(network, classes, trained_from=None, engine="auto"):
    config = Config(engine=engine, batch_size=4, threads=2)
    return Trained(config, classes, network, trained_from, 0, Path())


@pytest.mark.parametrize("trained_from", [None, 100])
@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_a_network_is_evaluated_as_the_whole_model_sees_the_images(network, engine, trained_from):
    images = subset(CLASSES)
    found = evaluate_trained(trained(network, CLASSES, trained_from, engine), images, Stop())
    logits = network.model(images.pixels(np.arange(7)).astype(np.float32)).numpy()[:, 0]
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found.probabilities[:, 1], expected, atol=1e-3)
    assert found.labels.tolist() == images.labels.tolist()
    assert found.predicted.tolist() == (logits > 0).astype(int).tolist()


def test_three_classes_are_evaluated_with_a_probability_each(network_for_three):
    images = subset(("ants", "bees", "cicadas"))
    found = evaluate_trained(trained(network_for_three, images.classes), images, Stop())
    assert found.probabilities.shape == (7, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert found.predicted.tolist() == found.probabilities.argmax(axis=1).tolist()
    assert math.isfinite(found.loss)


def test_an_evaluation_can_be_stopped(network):
    with pytest.raises(Stopped):
        evaluate_trained(trained(network, CLASSES), subset(CLASSES), Stop(True))
