import dataclasses

import numpy as np
import pytest

from lib import run_folder
from lib.data.dataset import open_dataset
from lib.model.engine import cut
from lib.reporting.progress import bar
from lib.training.evaluation import evaluate
from lib.training.feed import EvaluationFeed
from lib.training.steps import make_evaluation_step
from lib.use.trained import make_classifier, open_trained


@pytest.fixture(scope="module")
def validation(trained_run):
    return open_dataset(run_folder.saved(trained_run).config, bar).validation


class Never:
    def heed(self):
        pass


def checkpoint_of(trained_run, phase):
    return "latest" if phase == "finetune" else next((trained_run / "head").glob("*.index"))


@pytest.mark.parametrize("engine", ["plain", "auto"])
@pytest.mark.parametrize(("phase", "cut_at"), [("head", None), ("finetune", 100)])
def test_a_picture_is_told_as_in_the_evaluations_of_its_phase_to_the_last_bit(
    trained_run, validation, phase, cut_at, engine
):
    saved = run_folder.saved(trained_run)
    config = dataclasses.replace(saved.config, engine=engine)
    saved = dataclasses.replace(saved, flags=config.to_json())
    trained = open_trained(trained_run, saved, str(checkpoint_of(trained_run, phase)))
    assert trained.trained_from == cut_at
    network = trained.network
    of_phase = cut(network, cut_at, engine, config.threads)
    feed = EvaluationFeed(validation, of_phase, config.batch_size, memory_mb=10)
    expected = evaluate(feed, make_evaluation_step(of_phase, network.head), Never())

    classify = make_classifier(trained)
    order = np.random.default_rng(0).permutation(len(validation))
    for some in np.split(order, [3, 4, 8, 11, 15]):  # in other places, in smaller batches
        classes, probabilities = classify(validation.pixels(some))
        np.testing.assert_array_equal(classes, expected.predicted[some])
        np.testing.assert_array_equal(probabilities, expected.probabilities[some])
