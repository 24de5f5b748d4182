import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from lib.config import Config
from lib.errors import UserError
from lib.model.network import weights_sha256
from lib.runs import folder as run_folder
from lib.runs import resume
from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
from lib.runs.folder import Saved
from lib.runs.history import Epoch
from lib.runs.state import Journal, State

CONFIG = Config(image_size=32, alpha=0.35).with_flags(head_epochs=3, finetune_epochs=4)
AT_THE_LAST_START = Saved(CONFIG.to_json(), {}, {})


def state_after(head, finetune=0, phase=None):
    """The state of a run with so many epochs of each phase."""
    phases = ["start", *["head"] * head, *["finetune"] * finetune]
    state = State()
    state.phase.assign(phase or phases[-1].replace("start", "head"))
    state.journal = Journal([Epoch(i, name, 10 * i, *[0.5] * 7) for i, name in enumerate(phases)])
    return state


def require(state, now, before=CONFIG):
    resume.require_continuable("RUN", before.with_flags(**now), before, state)


CONTINUABLE = {
    "as before": (dict(head=1), {}),
    "more epochs of the head": (dict(head=3), {"head_epochs": 5}),
    "fewer epochs than asked before but no fewer than done": (dict(head=1), {"head_epochs": 2}),
    "more epochs of fine-tuning in it": (dict(head=3, finetune=1), {"finetune_epochs": 9}),
    "another fine-tuning before it": (
        dict(head=3),
        {"finetune_optimizer": "sgd", "finetune_thaw": 9, "finetune_schedule": "cosine"},
    ),
    "another length of a fine-tuning with a schedule that has not begun": (
        dict(head=3),
        {"finetune_schedule": "cosine", "finetune_epochs": 1},
    ),
}


@pytest.mark.parametrize(("done", "now"), CONTINUABLE.values(), ids=CONTINUABLE)
def test_a_run_may_go_on(done, now):
    require(state_after(**done), now)


REFUSED = {
    "fewer epochs of the head than done": (
        *(dict(head=3), {"head_epochs": 2}),
        "--head_epochs=2: 3 epochs of that phase are trained already",
    ),
    "fewer epochs of fine-tuning than done": (
        *(dict(head=3, finetune=2), {"finetune_epochs": 1}),
        "--finetune_epochs=1: 2 epochs of that phase are trained already",
    ),
    "more epochs of the head once fine-tuning has begun": (
        *(dict(head=3, phase="finetune"), {"head_epochs": 4}),
        "the phase after it has begun on 3 epochs of it; give --head_epochs=3",
    ),
    "another optimizer in fine-tuning": (
        *(dict(head=3, finetune=1), {"finetune_optimizer": "sgd"}),
        r"finetune_optimizer \(rmsprop there, sgd now\)",
    ),
    "another layer in fine-tuning": (
        *(dict(head=3, phase="finetune"), {"finetune_thaw": 50}),
        r"finetune_thaw \(100 there, 50 now\)",
    ),
}


@pytest.mark.parametrize(("done", "now", "said"), REFUSED.values(), ids=REFUSED)
def test_a_run_that_would_become_another_is_refused(done, now, said):
    with pytest.raises(UserError, match=said):
        require(state_after(**done), now)


def test_a_phase_with_a_schedule_cannot_be_made_longer_once_it_has_begun():
    before = CONFIG.with_flags(head_schedule="cosine")
    with pytest.raises(
        UserError, match="begun with the schedule cosine over 3 epochs; give --head_"
    ):
        require(state_after(1), {"head_epochs": 5}, before)
    require(state_after(1), {}, before)


def test_a_phase_whose_schedule_has_ended_can_be_followed_by_the_next():
    before = CONFIG.with_flags(head_schedule="cosine", finetune_schedule="cosine")
    require(state_after(3, 1), {}, before)
    with pytest.raises(
        UserError, match="--finetune_epochs=9: the phase has begun with the schedule cosine"
    ):
        require(state_after(3, 1), {"finetune_epochs": 9}, before)


@pytest.fixture
def folders(tmp_path):
    """Where a run keeps its newest checkpoints, and the state at the end of its head phase."""
    return Checkpoints(tmp_path / "checkpoints", 3), resume.finished_phase(tmp_path, "head")


def save(checkpoints, network, step, shift):
    """A checkpoint of the network with its weights moved by `shift`; they are moved back."""
    weights = network.model.get_weights()
    network.model.set_weights([value + shift for value in weights])
    state = State()
    state.step.assign(step)
    checkpoints.save(CachedCheckpoint(model=network.model, state=state), step)
    network.model.set_weights(weights)


def shift_after_restoring(network, folder):
    before, state = network.head.kernel.numpy(), State()
    path = resume.restore(network, state, folder, AT_THE_LAST_START)
    shift = float(np.mean(network.head.kernel.numpy() - before))
    return path and path.parent.name, int(state.step), round(shift, 3)


def test_the_newest_checkpoint_of_the_run_comes_first(network, folders, tmp_path):
    checkpoints, heads = folders
    save(heads, network, 10, 1.0)
    save(checkpoints, network, 10, 2.0)
    save(checkpoints, network, 20, 3.0)
    assert shift_after_restoring(network, tmp_path) == ("checkpoints", 20, 3.0)


def test_else_the_last_phase_that_the_run_has_finished(network, folders, tmp_path):
    save(folders[1], network, 10, 1.0)
    assert shift_after_restoring(network, tmp_path) == ("head", 10, 1.0)
    save(resume.finished_phase(tmp_path, "finetune"), network, 20, 2.0)
    assert shift_after_restoring(network, tmp_path) == ("finetune", 20, 2.0)


def test_else_the_weights_stay_what_they_are(network, tmp_path):
    assert shift_after_restoring(network, tmp_path) == (None, 0, 0.0)


def test_the_backbone_and_its_statistics_are_restored_too(network, folders, tmp_path):
    save(folders[0], network, 10, 0.5)
    before = network.backbone.get_weights()
    resume.restore(network, State(), tmp_path, AT_THE_LAST_START)
    for now, then in zip(network.backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then + np.float32(0.5))


class YoungerState(State):
    """That of a version which counts something more."""

    def __init__(self):
        super().__init__()
        self.tokens = tf.Variable(0)


class OlderState(State):
    """That of a version which did not count what was left out."""

    def __init__(self):
        super().__init__()
        del self.skipped


def state_with_epochs(**changes):
    state, epoch = State(), dataclasses.asdict(Epoch(0, "start", 0, *[0.5] * 7))
    for name, value in changes.items():
        epoch |= {name: value}
        if value is None:
            del epoch[name]
    state._journal.assign(json.dumps(dataclasses.asdict(Journal()) | {"history": [epoch]}))
    return state


OTHER_VERSIONS = {
    "a state with more": (YoungerState, "has a state with tokens"),
    "a state with less": (OlderState, "has a state without skipped"),
    "epochs with more": (lambda: state_with_epochs(energy=1.0), "'energy'"),
    "epochs with less": (lambda: state_with_epochs(train_loss=None), "'train_loss'"),
}


@pytest.mark.parametrize(("other", "what"), OTHER_VERSIONS.values(), ids=OTHER_VERSIONS)
def test_a_checkpoint_of_another_version_says_which_commit_goes_on(
    network, folders, tmp_path, other, what
):
    folders[0].save(CachedCheckpoint(model=network.model, state=other()), 10)
    with pytest.raises(UserError, match=what) as refused:
        before = dataclasses.replace(AT_THE_LAST_START, made_by={"commit": "c0ffee"})
        resume.restore(network, State(), tmp_path, before)
    assert str(refused.value).endswith(": go on with the version that made it, commit c0ffee")
    assert "\n" not in str(refused.value)


@pytest.fixture
def other_run(tmp_path, network):
    """Another run with a finished head."""
    folder = tmp_path / "other"
    config = dataclasses.replace(CONFIG, workdir=str(folder))
    run_folder.save(folder, config, {"classes": ["ants", "bees"]})
    save(resume.finished_phase(folder, "head"), network, 10, 1.0)
    return folder


def begun_with(source, network, classes=("ants", "bees"), before=None, workdir="mine", **changes):
    config = dataclasses.replace(
        CONFIG, workdir=str(workdir), from_run=source and str(source), **changes
    )
    return resume.other_run(network, config, list(classes), before)


def test_a_run_of_its_own_begins_with_no_other(network):
    assert begun_with(None, network) == {"from_sha256": None}


def test_a_run_may_begin_with_the_head_of_another(network, other_run):
    before = network.head.kernel.numpy()
    found = begun_with(other_run, network)
    np.testing.assert_array_equal(network.head.kernel, before + np.float32(1.0))
    assert found == {"from_sha256": weights_sha256(network.model.variables)}


def test_a_run_that_has_begun_keeps_its_weights_though_the_other_is_gone(network, tmp_path):
    gone, weights = tmp_path / "gone", weights_sha256(network.model.variables)
    flags = dataclasses.replace(CONFIG, from_run=str(gone)).to_json()
    before = Saved(flags, {"from_sha256": "abc"}, {})
    save(Checkpoints(tmp_path / "mine" / "checkpoints", 3), network, 10, 1.0)
    found = begun_with(gone, network, before=before, workdir=tmp_path / "mine")
    assert found == {"from_sha256": "abc"}
    assert weights_sha256(network.model.variables) == weights


def test_its_own_checkpoint_takes_the_place_of_the_head_of_a_run_that_has_moved(
    network, other_run, folders, tmp_path
):
    save(folders[0], network, 20, 3.0)
    flags = dataclasses.replace(CONFIG, from_run="where/it/was").to_json()
    weights = network.head.kernel.numpy()
    found = begun_with(other_run, network, before=Saved(flags, {}, {}))
    resume.restore(network, State(), tmp_path, AT_THE_LAST_START)
    assert found != {"from_sha256": None}
    np.testing.assert_array_equal(network.head.kernel, weights + np.float32(3.0))


def test_a_head_that_does_not_fit_is_refused_with_what_differs(network, other_run):
    with pytest.raises(UserError, match=r"has classes \['ants', 'bees'\], and this run \['ants', "):
        begun_with(other_run, network, classes=["ants", "wasps"])
    with pytest.raises(UserError, match=r"has alpha 0.35, and this run 0.5"):
        begun_with(other_run, network, alpha=0.5)


def test_a_run_without_a_head_or_no_run_at_all_is_refused(network, other_run, tmp_path):
    for file in (other_run / "phases" / "head").iterdir():
        file.unlink()
    with pytest.raises(
        UserError, match=r"has not finished its phase 'head' \(finished: none\): train it first"
    ):
        begun_with(other_run, network)
    with pytest.raises(UserError, match="holds no run"):
        begun_with(tmp_path / "nowhere", network)
    with pytest.raises(UserError, match="is this run's own --workdir"):
        begun_with("mine", network)
