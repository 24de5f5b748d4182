import math

import numpy as np
import pytest

from lib.config import PHASES, Config
from lib.data.dataset import Subset
from lib.errors import Stopped, UserError
from lib.reporting.result import wilson_interval
from lib.training.checkpoints import Checkpoints, TracedCheckpoint
from lib.training.evaluation import Evaluation
from lib.training.outcome import evaluate_network, load_best, peak_memory_mb, summary
from lib.training.state import State

CLASSES = ("ants", "bees")


def in_phase(name):
    state = State()
    state.phase.assign(name)
    return state


def test_a_summary_has_the_loss_and_the_accuracy_with_its_interval():
    labels, predicted = np.int32([0, 1, 1, 0]), np.int32([0, 1, 0, 0])
    probabilities = np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = summary(Evaluation(0.25, labels, predicted, probabilities), CLASSES)
    assert (found["loss"], found["accuracy"], found["count"]) == (0.25, 0.75, 4)
    assert found["accuracy_interval"] == list(wilson_interval(3, 4))


def test_a_run_without_a_finished_epoch_has_no_best(network, tmp_path):
    with pytest.raises(UserError, match="holds no finished epoch: train it first"):
        load_best(network, Checkpoints(tmp_path / "best", 1), tmp_path)


def test_the_best_weights_are_loaded_and_their_step_told(network, tmp_path):
    best = Checkpoints(tmp_path / "best", 1)
    weights = network.model.get_weights()
    state = in_phase("finetune")
    state.step.assign(70)
    best.save(TracedCheckpoint(model=network.model, state=state), 70)
    network.model.set_weights([value + 1 for value in weights])
    found = load_best(network, best, tmp_path)
    assert (int(found.step), found.phase_name) == (70, "finetune")
    for now, then in zip(network.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


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

    def heed(self):
        if self.raises:
            raise Stopped(2)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_a_network_is_evaluated_as_the_whole_model_sees_the_pictures(network, engine, phase):
    config, pictures = Config(engine=engine, batch_size=4, threads=2), subset(CLASSES)
    found = evaluate_network(network, in_phase(phase), pictures, config, Stop())
    logits = network.model(pictures.pixels(np.arange(7)).astype(np.float32)).numpy()[:, 0]
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found.probabilities[:, 1], expected, atol=1e-3)
    assert found.labels.tolist() == pictures.labels.tolist()
    assert found.predicted.tolist() == (logits > 0).astype(int).tolist()


def test_three_classes_are_evaluated_with_a_probability_each(network_for_three):
    pictures = subset(("ants", "bees", "cicadas"))
    config = Config(batch_size=4, threads=2)
    found = evaluate_network(network_for_three, in_phase("head"), pictures, config, Stop())
    assert found.probabilities.shape == (7, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert found.predicted.tolist() == found.probabilities.argmax(axis=1).tolist()
    assert math.isfinite(found.loss)


def test_an_evaluation_can_be_stopped(network):
    with pytest.raises(Stopped):
        evaluate_network(
            network, in_phase("head"), subset(CLASSES), Config(batch_size=4, threads=2), Stop(True)
        )


def test_the_peak_memory_is_in_mib():
    assert 100 < peak_memory_mb() < 100_000
