import dataclasses

import numpy as np
import pytest

from lib.config import Config
from lib.data.dataset import open_dataset
from lib.errors import UserError
from lib.inference import trained as module
from lib.inference.trained import load_trained, make_classifier, open_trained
from lib.model.engine import cut
from lib.runs import folder as run_folder
from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
from lib.runs.state import State
from lib.system.progress import bar
from lib.training.evaluation import evaluate
from lib.training.feed import EvaluationFeed
from lib.training.steps import make_evaluation_step

CLASSES = ("ants", "bees")


@pytest.fixture(scope="module")
def validation(trained_run):
    return open_dataset(run_folder.saved(trained_run).config, bar).validation


class Never:
    def raise_if_requested(self):
        pass


def checkpoint_of(trained_run, phase):
    if phase == "finetune":
        return "latest"
    return next((trained_run / "phases" / "head").glob("*.index"))


@pytest.mark.parametrize("engine", ["plain", "auto"])
@pytest.mark.parametrize(("phase", "cut_at"), [("head", None), ("finetune", 100)])
def test_an_image_is_classified_as_in_the_evaluations_of_its_phase_to_the_last_bit(
    trained_run, validation, phase, cut_at, engine
):
    saved = run_folder.saved(trained_run)
    config = dataclasses.replace(saved.config, engine=engine)
    checkpoint = str(checkpoint_of(trained_run, phase))
    trained = open_trained(trained_run, config, saved.facts["classes"], checkpoint)
    assert trained.trained_from == cut_at
    network = trained.network
    of_phase = cut(network, cut_at, engine, config.threads)
    feed = EvaluationFeed(validation, of_phase, config.batch_size, memory_mb=10)
    expected = evaluate(feed, make_evaluation_step(of_phase, network), Never())

    classify = make_classifier(trained)
    order = np.random.default_rng(0).permutation(len(validation))
    for some in np.split(order, [3, 4, 8, 11, 15]):  # in other places, in smaller batches
        classes, probabilities = classify(validation.pixels(some))
        np.testing.assert_array_equal(classes, expected.predicted[some])
        np.testing.assert_array_equal(probabilities, expected.probabilities[some])


def test_a_run_without_a_finished_epoch_has_no_best(tmp_path):
    small = Config(image_size=32, alpha=0.35)
    with pytest.raises(UserError, match="holds no best checkpoint yet: train it first"):
        open_trained(tmp_path, small, CLASSES, "best")


def test_best_is_that_of_the_best_epoch_and_no_other_stands_in_for_it(
    network, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "build", lambda *_: network)
    small = Config(image_size=32, alpha=0.35)
    saved_by(network, tmp_path / "checkpoints", 140)
    with pytest.raises(UserError, match="holds no best checkpoint yet"):
        open_trained(tmp_path, small, CLASSES, "best")
    saved_by(network, tmp_path / "best", 70)
    saved_by(network, tmp_path / "phases" / "head", 35)
    assert open_trained(tmp_path, small, CLASSES, "best").step == 70
    assert open_trained(tmp_path, small, CLASSES, "latest").step == 140


@pytest.mark.parametrize("name", ["nowhere", ".", "/"])
def test_a_checkpoint_that_is_not_there_is_named_with_what_would_do(tmp_path, name):
    small = Config(image_size=32, alpha=0.35)
    with pytest.raises(UserError, match=f"--checkpoint={name}: no such checkpoint; expected best"):
        open_trained(tmp_path, small, CLASSES, name)


def saved_by(network, folder, step):
    state = State()
    state.phase.assign("finetune")
    state.step.assign(step)
    Checkpoints(folder, keep=1).save(CachedCheckpoint(model=network.model, state=state), step)


def test_the_weights_are_loaded_and_their_step_and_phase_told(network, tmp_path):
    weights = network.model.get_weights()
    saved_by(network, tmp_path, 70)
    network.model.set_weights([value + 1 for value in weights])
    config = Config().with_flags(finetune_thaw="block_16_expand")
    found = load_trained(network, config, CLASSES, tmp_path / "ckpt-70")
    assert (found.step, found.trained_from) == (70, 143)
    for now, then in zip(network.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_checkpoint_that_a_newer_one_has_just_replaced_is_no_error(
    network, tmp_path, monkeypatch
):
    saved_by(network, tmp_path / "best", 70)
    load = module.load_checkpoint

    def after_the_next_epoch(path, **objects):
        monkeypatch.setattr(module, "load_checkpoint", load)
        saved_by(network, tmp_path / "best", 140)
        load(path, **objects)

    monkeypatch.setattr(module, "load_checkpoint", after_the_next_epoch)
    config = Config(image_size=32, alpha=0.35)
    assert open_trained(tmp_path, config, CLASSES, "best").step == 140


def test_a_damaged_checkpoint_is_said_in_one_line(network, tmp_path):
    saved_by(network, tmp_path, 70)
    (tmp_path / "ckpt-70.index").write_bytes(b"")
    with pytest.raises(UserError, match=r"ckpt-70 cannot be read: it is damaged, or of another"):
        load_trained(network, Config(), CLASSES, tmp_path / "ckpt-70")
