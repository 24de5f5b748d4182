import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lib.reporting import plots
from lib.reporting.tensorboard import SPLITS, Summaries

STEPS = 12


def points(folder):
    """Every point of every series as its file has it: [(split, tag, step, value)], sorted."""
    found = []
    for path in folder.glob("*/*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                number = tf.make_ndarray(value.tensor).tolist()
                found.append((path.parent.name, value.tag, event.step, number))
    return sorted(found)


def train(summaries, first, last):
    """Steps first+1 to last of a run whose numbers follow from the step alone, as ours do."""
    if first == 0:
        summaries.text("train", "layers", "| layer |\n| --- |", step=0)
        summaries.scalars("validation", 0, {"loss": 0.9})
    for step in range(first + 1, last + 1):
        summaries.scalars("train", step, {"loss": 1 / step, "accuracy": 1 - 1 / step})
        if step % 4 == 0:
            summaries.scalars("validation", step, {"loss": 2 / step})
            summaries.image("validation", "mistakes", np.full((4, 4, 3), step, np.uint8), step)
            positive, scores = np.arange(step) % 3 == 0, np.linspace(0, 1, step)
            summaries.precision_recall("validation", positive, scores, "every third", step)
            summaries.histograms("train", {"weights/kernel": np.arange(step) / step}, step)


def test_scalars_of_all_splits_share_their_tags(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries:
        summaries.scalars("train", 1, {"loss": 0.5, "accuracy": 0.75})
        summaries.scalars("validation", 1, {"loss": 0.25})
        summaries.scalars("test", 1, {"loss": 0.125})
    assert points(tmp_path) == [
        ("test", "loss", 1, 0.125),
        ("train", "accuracy", 1, 0.75),
        ("train", "loss", 1, 0.5),
        ("validation", "loss", 1, 0.25),
    ]


@pytest.mark.parametrize("name", ["exp [1]", "a\\b", "what?", "caf\udce9"])
def test_summaries_may_be_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "tensorboard"
    for resumed_at, last in ((-1, 1), (1, 2)):
        with Summaries(folder, resumed_at) as summaries:
            summaries.describe(f"{name} (here)", f"in {folder}", {"dataset": str(tmp_path / name)})
            for step in range(last + 1):
                summaries.scalars("train", step, {"loss": float(step)})
            summaries.flush()
    folder.rename(tmp_path / "plain")  # where any reader can look
    losses = [("train", "loss", step, float(step)) for step in (0, 1, 2)]
    assert points(tmp_path / "plain") == losses
    assert list((tmp_path / name).iterdir()) == []


def test_an_unknown_split_is_refused(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries, pytest.raises(KeyError):
        summaries.scalars("val", 1, {"loss": 0.5})


def test_figures_and_texts_come_back_as_they_were(tmp_path):
    figure = plots.confusion(np.eye(2, dtype=int), ["cats", "dogs"])
    with Summaries(tmp_path, resume_step=0) as summaries:
        summaries.image("train", "confusion", plots.pixels(figure), step=7)
        summaries.text("validation", "layers", "**frozen**", step=0)
    text, (_, tag, step, (width, height, png)) = sorted(points(tmp_path), reverse=True)
    assert text == ("validation", "layers", 0, b"**frozen**")
    assert (tag, step, int(width)) == ("confusion", 7, 800)
    np.testing.assert_array_equal(tf.io.decode_png(png), plots.pixels(figure))
    assert int(height) == len(plots.pixels(figure))


def test_what_is_flushed_can_be_read_while_the_run_goes_on(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries:
        for split in SPLITS:
            summaries.scalars(split, 1, {"loss": 0.5})
        summaries.flush()
        assert points(tmp_path) == [(split, "loss", 1, 0.5) for split in sorted(SPLITS)]


def test_a_flush_is_one_of_every_splits_file(tmp_path, monkeypatch):
    # TensorFlow flushes a writer, too, when it is no longer the default, so no file shows it.
    flushed = []
    with Summaries(tmp_path, resume_step=0) as summaries:
        for split, writer in summaries._writers.items():
            monkeypatch.setattr(writer, "flush", lambda split=split: flushed.append(split))
        summaries.flush()
        assert flushed == list(SPLITS)


def test_opening_drops_the_points_after_the_step_and_keeps_the_others(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries:
        train(summaries, 0, STEPS)
    before = points(tmp_path)
    Summaries(tmp_path, resume_step=5).close()
    assert points(tmp_path) == [point for point in before if point[2] <= 5]
    Summaries(tmp_path, resume_step=-1).close()
    assert points(tmp_path) == []


def test_a_point_that_is_there_already_is_not_written_twice(tmp_path):
    for _ in range(3):
        with Summaries(tmp_path, resume_step=4) as summaries:
            train(summaries, 0, 4)
            once = points(tmp_path)
    assert points(tmp_path) == once
    assert len({point[:3] for point in once}) == len(once) == 14


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_after_any_number_of_kills_the_curves_are_those_of_a_run_never_stopped(
    tmp_path_factory, data
):
    unbroken, folder = tmp_path_factory.mktemp("unbroken"), tmp_path_factory.mktemp("killed")
    with Summaries(unbroken, resume_step=0) as summaries:
        train(summaries, 0, STEPS)
    checkpoint = 0
    for _ in range(data.draw(st.integers(1, 4), "kills")):
        saved = data.draw(st.integers(checkpoint, STEPS), "saved")
        reached = data.draw(st.integers(saved, STEPS), "reached")
        with Summaries(folder, checkpoint) as summaries:
            train(summaries, checkpoint, saved)
            summaries.flush()
            flushed = {path: path.stat().st_size for path in folder.glob("*/*tfevents*")}
            train(summaries, saved, reached)
        # The kill: of what came after the flush, some of the bytes have reached the disk.
        part = data.draw(st.floats(0, 1), "part that was written")
        for path, safe in flushed.items():
            with open(path, "rb+") as file:
                file.truncate(safe + int(part * (path.stat().st_size - safe)))
        checkpoint = saved
    with Summaries(folder, checkpoint) as summaries:
        train(summaries, checkpoint, STEPS)
    assert points(folder) == points(unbroken)


def test_a_kill_while_opening_costs_no_point_and_doubles_none(tmp_path):
    folder = tmp_path / "tensorboard"
    with Summaries(folder, resume_step=0) as summaries:
        train(summaries, 0, STEPS)
    before = points(folder)
    shutil.copytree(folder, tmp_path / "old")
    Summaries(folder, resume_step=STEPS).close()
    # The kill: the new file is in place, the old ones are not removed yet.
    shutil.copytree(tmp_path / "old", folder, dirs_exist_ok=True)
    (folder / "train" / ".kept.partial").write_bytes(b"half of it")
    assert len(points(folder)) > len(before)
    Summaries(folder, resume_step=STEPS).close()
    assert points(folder) == before


@pytest.mark.parametrize("rest", [b"", b"\x18", b"\x18" + bytes(7), b"not an event file at all"])
def test_a_file_without_one_whole_record_is_no_obstacle(tmp_path, rest):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "events.out.tfevents.1.v2").write_bytes(rest)
    with Summaries(tmp_path, resume_step=0) as summaries:
        summaries.scalars("train", 1, {"loss": 0.5})
    assert points(tmp_path) == [("train", "loss", 1, 0.5)]


def test_a_failed_opening_leaves_every_point(tmp_path, monkeypatch):
    with Summaries(tmp_path, resume_step=0) as summaries:
        train(summaries, 0, STEPS)
    before = points(tmp_path)

    def full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="no space"):
            Summaries(tmp_path, resume_step=3)
    assert points(tmp_path) == before


def test_every_file_begins_with_the_version_of_the_format(tmp_path):
    for _ in range(2):
        with Summaries(tmp_path, resume_step=STEPS) as summaries:
            train(summaries, 0, STEPS)
    files = list(tmp_path.glob("train/*"))
    assert len(files) == 2
    for path in files:
        first = next(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        assert tf.compat.v1.Event.FromString(first).file_version == "brain.Event:2"


def test_openings_do_not_pile_up_files(tmp_path):
    for step in range(4):
        with Summaries(tmp_path, resume_step=step) as summaries:
            train(summaries, step, step + 1)
    assert len(list((tmp_path / "train").iterdir())) == 2


def test_tensorboard_reads_a_resumed_run_as_one_series(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries:
        train(summaries, 0, 8)
    with Summaries(tmp_path, resume_step=6) as summaries:
        train(summaries, 6, STEPS)
    train_board, validation_board = (
        EventAccumulator(str(tmp_path / split), size_guidance={"tensors": 0}).Reload()
        for split in ("train", "validation")
    )
    losses = train_board.Tensors("loss")
    assert [event.step for event in losses] == list(range(1, STEPS + 1))
    assert [event.step for event in validation_board.Tensors("loss")] == [0, 4, 8, 12]
    assert train_board.SummaryMetadata("loss").plugin_data.plugin_name == "scalars"


def graph_of_a_sum():
    return tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec((), tf.float32)).graph


def test_each_kind_of_point_is_still_of_its_kind_after_a_restart(tmp_path):
    with Summaries(tmp_path, resume_step=0) as summaries:
        train(summaries, 0, 8)
        summaries.graph("train", "train_step/head", graph_of_a_sum(), step=0)
    with Summaries(tmp_path, resume_step=4) as summaries:
        train(summaries, 4, 8)
    boards = {
        split: EventAccumulator(str(tmp_path / split)).Reload() for split in ("train", "validation")
    }
    for split, tag, plugin in (
        ("train", "loss", "scalars"),
        ("train", "weights/kernel", "histograms"),
        ("train", "train_step/head", "graph_run_metadata_graph"),
        ("train", "layers", "text"),
        ("validation", "mistakes", "images"),
        ("validation", "precision_recall/pr_curves", "pr_curves"),
    ):
        assert boards[split].SummaryMetadata(tag).plugin_data.plugin_name == plugin
    curves = boards["validation"].Tensors("precision_recall/pr_curves")
    assert [event.step for event in curves] == [4, 8]


def test_a_precision_recall_curve_holds_the_counts_at_each_threshold(tmp_path):
    positive, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.6, 0.3])
    with Summaries(tmp_path, resume_step=0) as summaries:
        summaries.precision_recall("test", positive, scores, "", step=3)
    ((_, tag, step, counts),) = points(tmp_path)
    assert (tag, step) == ("precision_recall/pr_curves", 3)
    true_positives, false_positives = np.array(counts)[:2]
    assert (true_positives[0], false_positives[0]) == (2, 2)  # at the threshold 0
    assert (true_positives[100], false_positives[100]) == (2, 1)  # at 0.5
    assert (true_positives[170], false_positives[170]) == (1, 0)  # at 0.85


def test_what_a_run_is_stands_there_once_as_the_last_start_has_it(tmp_path):
    for epochs in (1, 2):
        with Summaries(tmp_path, resume_step=5) as summaries:
            summaries.describe("run", "text", {"head_epochs": epochs, "optimizer": "adam"})
    board = EventAccumulator(str(tmp_path)).Reload()
    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    flags = HParamsPluginData.FromString(content).session_start_info.hparams
    assert flags["head_epochs"].number_value == 2 and flags["optimizer"].string_value == "adam"
    for tag in ("configuration", "custom_scalars__config__", "_hparams_/session_start_info"):
        assert len(board.Tensors(tag)) == 1


def test_scores_of_a_network_that_has_overflowed_do_no_harm(tmp_path):
    scores = np.array([np.nan, 0.5], np.float32)
    with Summaries(tmp_path, resume_step=0) as summaries:
        summaries.precision_recall("test", np.array([True, False]), scores, "", step=3)
        summaries.histograms("train", {"gradients/kernel": np.array([np.inf, 0.5])}, step=3)
    (_, _, _, counts), _ = sorted(points(tmp_path))
    assert counts[0][0] == counts[1][0] == 1  # both examples are counted, if far down
