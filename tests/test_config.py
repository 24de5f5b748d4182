import dataclasses
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config import (
    NOT_IDENTITY,
    Config,
    Phase,
    differences,
    not_default,
    require_phase_names,
    resolved,
    user_cache,
)
from lib.errors import UserError

PHASES = st.builds(
    Phase,
    name=st.sampled_from(["head", "finetune", "top", "all"]),
    epochs=st.integers(0, 99),
    thaw=st.integers(0, 153) | st.sampled_from(["none", "all", "35%", "block_13"]),
    layer_decay=st.floats(0.1, 1.0),
    restore_best=st.booleans(),
)
CONFIGS = st.builds(
    Config,
    dataset=st.text(),
    seed=st.integers(0),
    alpha=st.floats(0.1, 2.0),
    train_limit=st.none() | st.integers(1),
    plugin=st.lists(st.text(), max_size=2).map(tuple),
    phases=st.lists(PHASES, min_size=1, max_size=4, unique_by=lambda p: p.name).map(tuple),
)


@given(CONFIGS)
def test_a_configuration_comes_back_from_json_as_it_was(config):
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_defaults_are_the_recipe():
    config = Config()
    assert (config.dataset, config.weights, config.seed) == ("cats_and_dogs", "imagenet", 0)
    assert (config.batch_size, config.image_size, config.alpha) == (32, 160, 1.0)
    assert (config.dropout, config.augment) == (0.2, "flip|rotate(0.2)")
    assert (config.loss, config.class_weights, config.ema) == ("cross_entropy", "none", 0.0)
    assert (config.checkpoint_every, config.keep_checkpoints) == (50, 3)
    head, finetune = config.phases
    assert (head.name, finetune.name) == ("head", "finetune")
    assert (head.epochs, head.optimizer, head.learning_rate) == (10, "adam", 1e-4)
    assert (finetune.epochs, finetune.optimizer, finetune.learning_rate) == (10, "rmsprop", 1e-5)
    assert (head.thaw, finetune.thaw) == ("none", 100)
    for phase in config.phases:
        assert (phase.schedule, phase.layer_decay, phase.views) == ("constant", 1.0, 0)
        assert (phase.patience, phase.restore_best) == (0, False)


def test_each_phase_has_the_flags_of_its_name():
    config = Config().with_flags(
        phases=["head", "top"],
        head_epochs=1,
        head_optimizer="sgd",
        top_learning_rate=0.25,
        top_thaw="block_13",
    )
    head, top = config.phases
    assert (head.epochs, head.optimizer, head.thaw) == (1, "sgd", "none")
    assert (top.name, top.learning_rate, top.thaw) == ("top", 0.25, "block_13")
    assert config.phase("top") is top
    assert config.to_json()["phases"] == ["head", "top"]
    assert config.to_json()["top_thaw"] == "block_13"
    assert "finetune_thaw" not in config.to_json()


@pytest.mark.parametrize("flag", ["rotation", "fine_tune_at", "top_epochs", "heads_epochs"])
def test_a_flag_that_stands_for_nothing_is_refused(flag):
    with pytest.raises(ValueError, match=f"unknown: {flag}"):
        Config().with_flags(**{flag: 1})


@pytest.mark.parametrize("names", [["head"], ["head", "top", "all"], ["all"], ["a_1"]])
def test_phases_have_names_of_their_own(names):
    require_phase_names(names)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "--phases=: expected the name of a phase"),
        ([""], "--phases=: expected the name of a phase"),
        (["head", ""], "'' cannot be the name of a phase"),
        (["head", "head"], "--phases=head,head: 'head' is given twice"),
        (["evaluate"], "'evaluate' has another meaning"),
        (["start"], "'start' has another meaning"),
        (["all", "top"], "--phase=all stands for all phases"),
        (["Head"], "'Head' cannot be the name of a phase"),
        (["2nd"], "'2nd' cannot be the name of a phase"),
        (["top layers"], "'top layers' cannot be the name of a phase"),
    ],
)
def test_a_list_of_phases_that_cannot_be_one_is_refused(names, said):
    with pytest.raises(UserError, match=said):
        require_phase_names(names)


def test_what_is_not_by_default_is_written_as_it_is_given():
    config = Config(seed=3, plugin=("a.py", "b.py"), train_limit=None)
    assert not_default(config.to_json()) == {"seed": "3", "plugin": "a.py,b.py"}
    phases = config.with_flags(plugin=[], phases=["head", "top"], top_epochs=2, head_epochs=10)
    assert not_default(phases.to_json()) == {"seed": "3", "phases": "head,top", "top_epochs": "2"}


def test_the_cache_is_where_the_system_says_and_else_in_the_home(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache() == Path("/somewhere/thaw")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == Path.home() / ".cache" / "thaw"


def test_a_run_lives_in_a_folder_of_its_data_sets_name():
    assert resolved(Config()).workdir == "runs/cats_and_dogs"
    assert resolved(Config(dataset="drawn")).workdir == "runs/drawn"
    assert resolved(Config(dataset="/some where/insects/")).workdir == "runs/insects"
    assert resolved(Config(workdir="here")).workdir == "here"


@pytest.mark.parametrize(
    ("dataset", "name"), [(".", "deeper"), ("", "deeper"), ("..", "set"), ("../..", "pets")]
)
def test_a_data_set_named_by_dots_has_the_name_of_its_folder(monkeypatch, tmp_path, dataset, name):
    (tmp_path / "pets" / "set" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pets" / "set" / "deeper")
    assert resolved(Config(dataset=dataset)).workdir == f"runs/{name}"


def test_a_data_set_that_is_a_link_gives_the_run_the_links_name(tmp_path):
    (tmp_path / "newest").symlink_to(tmp_path / "version 3")
    assert resolved(Config(dataset=str(tmp_path / "newest"))).workdir == "runs/newest"


def test_a_data_set_that_is_a_folder_is_remembered_by_its_full_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert resolved(Config(dataset="mine")).dataset == str(tmp_path / "mine")
    assert resolved(Config(dataset="~/mine")).dataset == str(Path.home() / "mine")
    assert resolved(Config(dataset="drawn")).dataset == "drawn"


def test_data_sets_are_kept_in_the_cache_unless_said_otherwise():
    assert resolved(Config()).data_dir == str(user_cache())
    assert resolved(Config(data_dir="/mnt/data")).data_dir == "/mnt/data"


@given(CONFIGS)
def test_a_configuration_does_not_differ_from_itself(config):
    assert differences(config.to_json(), config.to_json()) == {}


CHANGES = {
    **dict(seed=1, train_limit=5, eval_limit=5, batch_size=8, image_size=96, augment="flip"),
    **dict(alpha=0.5, dropout=0.1, engine="plain", slices=2, backbone="resnet50", scaling="torch"),
    **dict(
        source_size=200,
        loss="focal",
        class_weights="balanced",
        ema=0.9,
        fold="2/5",
        exchange="fast",
        head_init="zeros",
    ),
}


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_what_would_make_another_run_differs(name, value):
    before = Config()
    now = dataclasses.replace(before, **{name: value})
    found = differences(before.to_json(), now.to_json())
    assert found == {name: (getattr(before, name), value)}


def test_what_does_not_make_another_run_does_not_differ():
    changed = {name: "something else" for name in NOT_IDENTITY}
    assert differences(Config().to_json(), Config().to_json() | changed) == {}


def test_every_field_either_makes_the_run_what_it_is_or_does_not():
    """A new flag has to be thought about: here it is missing until it was."""
    assert NOT_IDENTITY.isdisjoint(CHANGES)
    assert {field.name for field in dataclasses.fields(Config)} == NOT_IDENTITY | set(CHANGES)


def test_what_is_not_asked_is_not_compared():
    assert differences({"seed": 1, "alpha": 1.0}, {"seed": 1}) == {}


def test_what_was_not_known_before_differs():
    assert differences({}, {"seed": 1}) == {"seed": (None, 1)}


def test_phases_are_compared_by_those_who_know_which_have_begun():
    before = Config()
    now = before.with_flags(head_epochs=3, finetune_optimizer="sgd")
    assert differences(before.to_json(), now.to_json()) == {}
    now = before.with_flags(phases=["head", "top"], top_thaw=3)
    assert differences(before.to_json(), now.to_json()) == {}


def test_a_run_that_begins_with_a_phase_of_another_leaves_out_those_up_to_it():
    config = resolved(Config(from_run="other").with_flags(phases=["head", "top", "all"]))
    assert [phase.epochs for phase in config.phases] == [0, 10, 10]
    config = resolved(
        Config(from_run="other", from_phase="top").with_flags(phases=["head", "top", "all"])
    )
    assert [phase.epochs for phase in config.phases] == [0, 0, 10]
    config = resolved(Config(from_run="other", from_phase="all").with_flags(phases=["more"]))
    assert [phase.epochs for phase in config.phases] == [10]


def test_without_a_home_what_can_be_made_again_is_in_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no HOME, no account
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert user_cache() == tmp_path / f"thaw-{os.getuid()}"
    assert user_cache().stat().st_mode & 0o777 == 0o700
    resolved(Config())  # needs none either


def test_without_a_home_the_folder_of_another_user_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user_cache()
    other = os.getuid() + 1
    (tmp_path / f"thaw-{other}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(UserError, match="is another user's: set XDG_CACHE_HOME"):
        user_cache()


@pytest.mark.parametrize(
    "given",
    [{"workdir": "~nobody_here/x"}, {"dataset": "~nobody_here"}, {"data_dir": "~no_body/x"}],
)
def test_a_home_that_nobody_knows_is_one_line(given):
    with pytest.raises(UserError, match="no home folder is known for its ~; give the whole path"):
        resolved(Config(**given))
