"""The loop in this process, on a few images: what whole runs cannot look into."""

import contextlib
import dataclasses
import signal

import numpy as np
import pytest

from lib.config import Config
from lib.data.dataset import open_dataset
from lib.distribution.workers import SINGLE
from lib.errors import Stopped, UserError
from lib.model.network import weights_sha256
from lib.runs.checkpoints import Checkpoints, step_of
from lib.runs.folder import saved
from lib.system.progress import bar
from lib.training import build as build_module
from lib.training import clock as clock_module
from lib.training import loop
from lib.training import run as run_module
from lib.training.build import build_phase
from lib.training.feed import TrainingFeed
from lib.training.parts import Parts
from lib.training.run import open_run
from tests.training.test_steps import traces

STEPS = 3  # an epoch


class Stop:
    """A request to stop that comes at the n-th time of asking."""

    def __init__(self, at=None):
        self.left = at

    def defer(self):
        pass

    def raise_if_requested(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stopped(signal.SIGINT)


class Silent:
    """Reports to nobody: whole runs show those."""

    def __init__(self, folder, step, history):
        pass

    def __getattr__(self, name):
        return lambda *arguments, **options: None


@pytest.fixture(scope="module", autouse=True)
def only_the_loop(shared_networks):
    """Runs without reports, on a network that is built already."""

    def network():
        built, weights = shared_networks(2)
        built.model.set_weights(weights)
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "initial_network", network)
        patch.setattr(run_module, "Reports", Silent)
        patch.setattr(run_module, "_show_training_images", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def config(two_classes):
    return Config(
        dataset=str(two_classes),
        weights="none",
        threads=2,
        train_limit=10,
        eval_limit=6,
        batch_size=4,
        image_size=32,
        alpha=0.35,
        engine="plain",
        checkpoint_every=2,
    ).with_flags(
        head_epochs=2,
        head_learning_rate=0.01,
        finetune_epochs=1,
        finetune_thaw="block_16_expand",
    )


@pytest.fixture(scope="module")
def dataset(config):
    return open_dataset(config, bar)


def initial_network():
    raise AssertionError("`only_the_loop` gives another")


@contextlib.contextmanager
def opened(folder, config, dataset, stop=None):
    folder.mkdir(exist_ok=True)
    parts = Parts(config, saved(folder), {}, initial_network(), "of noise", None, dataset, SINGLE)
    with open_run(folder, parts, 0.0, stop or Stop()) as run:
        yield run


def trained(folder, config, dataset, phases=("head", "finetune"), stop=None):
    """Trains phases of a run, and returns what does not depend on the clock."""
    with opened(folder, config, dataset, stop) as run:
        for phase in phases:
            loop.train_phase(run, config.phase(phase))
        history = [
            repr(dataclasses.replace(row, images_per_second=0.0, seconds=0.0))
            for row in run.state.journal.history
        ]
        return weights_sha256(run.network.model.variables), history


@pytest.fixture(scope="module")
def uninterrupted(config, dataset, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"), config, dataset)


@pytest.mark.parametrize("phase", ["head", "finetune"])
def test_each_function_is_traced_once_in_a_phase(config, dataset, tmp_path, phase, monkeypatch):
    config = config.with_flags(head_epochs=2 if phase == "head" else 0, finetune_epochs=2)
    traced = traces(monkeypatch)
    with opened(tmp_path, config, dataset) as run:
        built = []
        monkeypatch.setattr(
            loop, "build_phase", lambda *a: built.append(build_phase(*a)) or built[0]
        )
        loop.train_phase(run, config.phase(phase))
    assert len(dataset.train) % config.batch_size  # so that the last batch is smaller
    assert sorted(traced) == ["drop", "measured"]
    assert built[0].evaluation_step.experimental_get_tracing_count() == 1


def test_summaries_are_in_their_files_before_a_checkpoint_says_so(
    config, dataset, tmp_path, monkeypatch
):
    order, save = [], Checkpoints.save
    monkeypatch.setattr(Silent, "flush", lambda _: order.append("flush"), raising=False)

    def noted(checkpoints, *arguments):
        order.append(checkpoints._folder.name)
        return save(checkpoints, *arguments)

    monkeypatch.setattr(Checkpoints, "save", noted)
    with opened(tmp_path, config, dataset) as run:
        loop.train_phase(run, config.phase("head"))
    before = [order[at - 1] for at, each in enumerate(order) if each == "checkpoints"]
    assert len(before) == 5  # at the beginning, and in each epoch and at its end
    assert set(before) == {"flush"}


@pytest.mark.parametrize("part", ["layer_table", "make_slice_step", "make_evaluation_step"])
def test_building_and_preparing_a_phase_count_for_the_phase_and_for_no_epoch(
    config, dataset, tmp_path, monkeypatch, part
):
    clock = [0.0]
    owner = loop if part == "layer_table" else build_module
    original = getattr(owner, part)

    def monotonic():
        clock[0] += 1.0
        return clock[0]

    def slow_at_first(function):
        def slow(*arguments):
            clock[0] += slow.seconds
            slow.seconds = 0.0
            return function(*arguments)

        slow.seconds = 1000.0
        slow.get_concrete_function = getattr(function, "get_concrete_function", None)
        return slow

    def made(*arguments, **options):
        return slow_at_first(original(*arguments, **options))

    with opened(tmp_path, config.with_flags(head_epochs=1), dataset) as run:
        loop.train_phase(run, run.config.phase("head"))
        monkeypatch.setattr(clock_module, "monotonic", monotonic)
        monkeypatch.setattr(owner, part, slow_at_first(original) if part == "layer_table" else made)
        loop.train_phase(run, run.config.phase("finetune"))
        journal = run.state.journal
    assert journal.history[-1].seconds < 1000.0 < journal.seconds["finetune"]
    assert journal.training_seconds["finetune"] < 1000.0


def test_preparing_a_phase_changes_no_weight_and_no_state(config, dataset, tmp_path):
    with opened(tmp_path, config, dataset) as run:
        built = build_phase(run, run.config.phase("head"))
        variables = (*run.network.model.variables, *built.learner.optimizer.variables)
        before = [np.array(each) for each in (*variables, *run.state.variables)]
        loop._prepare(built)
        after = [np.array(each) for each in (*variables, *run.state.variables)]
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_bar_goes_on_with_each_step_and_shows_the_last_loss_looked_at(
    config, dataset, tmp_path, monkeypatch
):
    advances = []

    @contextlib.contextmanager
    def recording(description, total, unit):
        yield lambda count, note="": advances.append((count, note.split()[:1]))

    monkeypatch.setattr(loop, "bar", recording)
    monkeypatch.setattr(loop, "_LOOK_EVERY", 2)
    with opened(tmp_path, config.with_flags(head_epochs=1), dataset) as run:
        loop.train_phase(run, run.config.phase("head"))
    assert advances == [(0, []), (4, []), (4, ["loss"]), (2, ["loss"])]


@pytest.mark.parametrize("first", [2, 4, 7, 13])
def test_a_run_that_is_stopped_anywhere_ends_as_if_it_never_was(
    config, dataset, tmp_path, uninterrupted, first
):
    """The n-th look at the request is in an evaluation, a step, or between epochs."""
    with pytest.raises(Stopped):
        trained(tmp_path, config, dataset, stop=Stop(first))
    assert trained(tmp_path, config, dataset) == uninterrupted


def test_a_stop_saves_the_very_step_at_which_it_came(config, dataset, tmp_path):
    with opened(tmp_path, config, dataset, Stop(2)) as run:  # two evaluation batches before it
        with pytest.raises(Stopped):
            loop.train_phase(run, config.phase("head"))
        assert step_of(run.checkpoints.newest_good()) == int(run.state.step) == 1


def test_a_stop_before_anything_was_done_saves_nothing(config, dataset, tmp_path):
    with opened(tmp_path, config, dataset, Stop(0)) as run:
        with pytest.raises(Stopped):
            loop.train_phase(run, config.phase("head"))
        assert run.checkpoints.newest_good() is None


def test_views_give_the_same_run_however_it_is_stopped(config, dataset, tmp_path):
    config = config.with_flags(head_epochs=3, head_views=2)
    whole = trained(tmp_path / "whole", config, dataset, ["head"])
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", config, dataset, ["head"], Stop(13))
    assert trained(tmp_path / "stopped", config, dataset, ["head"]) == whole


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint_before_it(
    config, dataset, tmp_path, monkeypatch
):
    config = config.with_flags(head_epochs=2)
    computed = TrainingFeed.batch

    def poisoned(feed, step):
        batch = computed(feed, step)
        return batch._replace(features=batch.features * np.nan) if step == 4 else batch

    monkeypatch.setattr(TrainingFeed, "batch", poisoned)
    with opened(tmp_path, config, dataset) as run:
        with pytest.raises(UserError, match=r"not a number at step 4 \(phase head, learning rate"):
            loop.train_phase(run, config.phase("head"))
        assert step_of(run.checkpoints.newest_good()) == 4
        assert np.isfinite(run.network.head.kernel.numpy()).all()
    monkeypatch.undo()
    # What was left can go on, from the very step.
    assert trained(tmp_path, config, dataset, ["head"]) == trained(
        tmp_path / "sound", config, dataset, ["head"]
    )


def test_a_weight_that_overflows_is_never_saved(config, dataset, tmp_path):
    config = config.with_flags(head_optimizer="sgd", head_learning_rate=3e38, checkpoint_every=1)
    with opened(tmp_path, config, dataset) as run:
        with pytest.raises(UserError, match="infinite or not a number"):
            loop.train_phase(run, config.phase("head"))
        assert step_of(run.checkpoints.newest_good()) <= 1


def test_the_cosine_goes_on_where_it_was(config, dataset, tmp_path):
    config = config.with_flags(head_epochs=3, head_schedule="cosine")
    whole = trained(tmp_path / "whole", config, dataset, ["head"])
    rates = [float(row.split("learning_rate=")[1].split(",")[0]) for row in whole[1][1:]]
    assert rates == sorted(rates, reverse=True) and rates[0] > 2 * rates[-1] > 0
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", config, dataset, ["head"], Stop(6))
    assert trained(tmp_path / "stopped", config, dataset, ["head"]) == whole


def test_the_head_of_no_epochs_is_the_network_before_training(config, dataset, tmp_path):
    config = config.with_flags(head_epochs=0)
    _, history = trained(tmp_path, config, dataset)
    assert ["phase='start'" in row or "phase='finetune'" in row for row in history] == [True] * 2
    assert (tmp_path / "phases" / "head" / "ckpt-0.json").exists()


def test_a_checkpoint_with_another_optimizer_names_the_version_that_goes_on(
    config, dataset, tmp_path, monkeypatch
):
    with pytest.raises(Stopped):
        trained(tmp_path, config, dataset, ["head"], Stop(5))
    other = build_module.build_optimizer
    monkeypatch.setattr(
        build_module, "build_optimizer", lambda _, rate: other("sgd(momentum=0.9)", rate)
    )
    with pytest.raises(
        UserError, match="has another optimizer or averages: go on with the version"
    ):
        trained(tmp_path, config, dataset, ["head"])
