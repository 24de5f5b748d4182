import dataclasses
import types

import numpy as np
import pytest

from lib.runs.folder import saved
from lib.training.shared_features import SharedFeatures, shared_features
from tests.training import test_feed, test_views


@pytest.fixture
def shared(tmp_path):
    return SharedFeatures(tmp_path, {"seed": 0})


def test_what_is_saved_is_found_by_origin_and_name_alone(shared, tmp_path):
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([[0.1]])]
    shared.save("one", *arrays)
    for found, array in zip(SharedFeatures(tmp_path, {"seed": 0}).load("one"), arrays, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array)
    assert shared.load("another") is None
    assert SharedFeatures(tmp_path, {"seed": 1}).load("one") is None


def test_without_a_folder_nothing_is_shared():
    SharedFeatures().save("one", np.zeros(1))
    assert SharedFeatures().load("one") is None


@pytest.mark.parametrize("place", [0, -200, "half"])
def test_a_damaged_file_is_named_and_not_used(shared, tmp_path, capsys, place):
    shared.save("one", np.arange(100, dtype=np.float32))
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    if place == "half":
        data = data[: len(data) // 2]
    else:
        data[place] ^= 1
    file.write_bytes(data)
    assert shared.load("one") is None
    assert f"warning: {file} is damaged" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    (tmp_path / "file").touch()
    SharedFeatures(tmp_path / "file").save("one", np.zeros(1))
    assert "warning: features could not be written for other runs" in capsys.readouterr().out


@pytest.fixture
def origin_of(trained_run, network):
    """A function that gives the origin of features of a run whose configuration is changed."""
    learner = types.SimpleNamespace(network=network, variables=[network.backbone.variables[-1]])

    def origin(trained_from=100, **flags):
        config = saved(trained_run).config.with_flags(share_features="there", **flags)
        return shared_features(trained_run, config, learner, trained_from).origin

    return origin


@pytest.mark.parametrize(
    "flags",
    [
        {"seed": 5},
        {"augment": "flip"},
        {"batch_size": 2},
        {"slices": 1},
        {"source_size": 40},
        {"fold": "1/2"},
        {"eval_limit": 3},
        {"train_limit": 3},
        {"engine": "plain"},
        {"alpha": 1.0},
        {"trained_from": 90},
    ],
)
def test_features_are_others_with_another(origin_of, flags):
    assert origin_of(**flags) != origin_of()


@pytest.mark.parametrize(
    "flags",
    [
        {"head_learning_rate": 0.5, "finetune_optimizer": "sgd", "finetune_epochs": 7},
        {"loss": "focal", "class_weights": "balanced", "ema": 0.9},
        {"dropout": 0.5, "head_init": "zeros"},
        {"threads": 1, "workdir": "elsewhere", "checkpoint_every": 3},
    ],
)
def test_what_is_done_with_features_does_not_change_them(origin_of, flags):
    assert origin_of(**flags) == origin_of()


def test_the_weights_of_what_is_frozen_belong_to_it_and_those_of_the_rest_do_not(
    origin_of, network
):
    before = origin_of()
    trained, frozen = network.backbone.variables[-1], network.backbone.variables[0]
    trained.assign_add(np.ones(trained.shape))
    assert origin_of() == before
    frozen.assign_add(np.ones(frozen.shape))
    assert origin_of() != before


def test_a_run_that_was_not_asked_to_shares_nothing(trained_run, network):
    learner = types.SimpleNamespace(network=network, variables=[])
    config = dataclasses.replace(saved(trained_run).config, share_features=None)
    assert shared_features(trained_run, config, learner, None).folder is None


@pytest.mark.parametrize("begun", [False, True])
def test_an_evaluation_reads_what_another_has_computed(shared, begun):
    engine = test_feed.make_engine()
    feeds = []
    for _ in range(2):
        whole = test_feed.subset()
        feeds.append(whole)
        feed = test_feed.EvaluationFeed(whole, engine, 4, memory_mb=1, shared=shared)
        if begun:
            feed.begin()
        feed.prepare(lambda: None)
        for _ in range(2):
            seen = [shade for batch in feed for shade in test_feed.shades(batch)]
            assert seen == [*whole.rows.tolist(), whole.rows[8]]
            labels = np.concatenate([batch.labels for batch in feed])
            assert labels.tolist() == whole.labels.tolist()
    assert [len(whole.store.asked) for whole in feeds] == [3, 0]


def test_features_that_are_not_kept_are_not_shared(shared, tmp_path):
    engine = test_feed.make_engine()
    list(test_feed.EvaluationFeed(test_feed.subset(), engine, 4, memory_mb=0, shared=shared))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resumed_at", [0, 1, 2])
def test_views_are_computed_by_the_first_run_that_needs_them(shared, resumed_at):
    first, second = test_views.Feed(), test_views.Feed()
    by_first = test_views.views(first, shared=shared)
    list(by_first.batches(resumed_at, test_views.EPOCH))
    for epoch in range(1, 4):
        test_views.epoch_of(by_first, epoch)
    by_second = test_views.views(second, shared=shared)
    expected = test_views.views(test_views.Feed())
    for epoch in range(4):
        both = test_views.epoch_of(by_second, epoch), test_views.epoch_of(expected, epoch)
        for one, other in zip(*both, strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.targets, other.targets)
    assert sorted(first.computed) == list(range(6)) and second.computed == []


def test_the_views_of_other_steps_are_others(shared):
    for first_epoch, computed in ((0, [0, 1, 2]), (3, [9, 10, 11])):
        feed = test_views.Feed()
        viewed = test_views.views(feed, first_epoch=first_epoch, shared=shared)
        test_views.epoch_of(viewed, first_epoch)
        assert feed.computed == computed
