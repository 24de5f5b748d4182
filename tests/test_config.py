import dataclasses
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config import NOT_IDENTITY, OF_FINETUNE, PHASES, Config, differences, resolved, user_cache
from lib.errors import UserError

CONFIGS = st.builds(
    Config,
    dataset=st.text(),
    seed=st.integers(0),
    alpha=st.floats(0.1, 2.0),
    train_limit=st.none() | st.integers(1),
    fine_tune_at=st.integers(0, 153) | st.text(min_size=1),
)


@given(CONFIGS)
def test_a_configuration_comes_back_from_json_as_it_was(config):
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_defaults_are_the_recipe():
    config = Config()
    assert (config.dataset, config.weights, config.seed) == ("cats_and_dogs", "imagenet", 0)
    assert (config.batch_size, config.image_size, config.alpha) == (32, 160, 1.0)
    assert (config.dropout, config.rotation) == (0.2, 0.2)
    assert (config.checkpoint_every, config.keep_checkpoints) == (50, 3)
    head, finetune = config.head, config.finetune
    assert (head.epochs, head.optimizer, head.learning_rate) == (10, "adam", 1e-4)
    assert (finetune.epochs, finetune.optimizer, finetune.learning_rate) == (10, "rmsprop", 1e-5)
    assert (head.trained_from, finetune.trained_from) == (None, 100)
    assert head.schedule == finetune.schedule == "constant"


def test_each_phase_has_the_flags_of_its_name():
    config = Config(
        head_epochs=1,
        head_optimizer="sgd",
        head_learning_rate=0.5,
        head_schedule="cosine",
        finetune_epochs=2,
        finetune_optimizer="lion",
        finetune_learning_rate=0.25,
        fine_tune_at="block_13_expand",
    )
    assert [config.phase(name).name for name in PHASES] == ["head", "finetune"]
    head, finetune = config.phase("head"), config.phase("finetune")
    assert (head.epochs, head.optimizer, head.learning_rate, head.schedule) == (
        *(1, "sgd", 0.5),
        "cosine",
    )
    assert (finetune.epochs, finetune.optimizer, finetune.learning_rate, finetune.schedule) == (
        *(2, "lion", 0.25),
        "constant",
    )
    assert finetune.trained_from == "block_13_expand"


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
    **dict(seed=1, train_limit=5, eval_limit=5, batch_size=8, image_size=96, rotation=0.1),
    **dict(alpha=0.5, dropout=0.1, engine="plain"),
    **dict(head_optimizer="sgd", head_learning_rate=1.0, head_schedule="cosine"),
    **dict(finetune_optimizer="sgd", finetune_learning_rate=1.0, finetune_schedule="cosine"),
    **dict(fine_tune_at=0, head_views=1),
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


def test_flags_of_fine_tuning_are_those_that_the_head_phase_does_not_use():
    expected = {"finetune_epochs", "finetune_optimizer", "finetune_learning_rate"}
    assert expected | {"finetune_schedule", "fine_tune_at"} == OF_FINETUNE


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
