import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lib.errors import UserError
from lib.reporting import plots
from lib.reporting.predictions import Predictions
from lib.reporting.reports import Reports
from lib.reporting.tensorboard import Summaries
from lib.runs.history import Epoch, read_history

START = Epoch.untrained(0.9, 0.5)
FIRST = Epoch(1, "head", 63, 1e-4, 0.7, 0.6, 0.65, 0.625, 812.4, 2.0)
SECOND = Epoch(2, "head", 126, 1e-4, 0.6, 0.7, 0.55, 0.75, 800.0, 2.0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def curves(folder):
    """Every point in the files: (split, tag, step) to its number."""
    found = {}
    for path in folder.glob("tensorboard/*/*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                number = tf.make_ndarray(value.tensor)
                if number.dtype == np.float32 and number.shape == ():
                    found[path.parent.name, value.tag, event.step] = float(number)
    return found


def tags(folder):
    return {
        value.tag
        for path in folder.glob("tensorboard/**/*tfevents*")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    }


def noting(order, name, method):
    return lambda *arguments, **options: order.append(name) or method(*arguments, **options)


def predictions():
    probabilities = np.float32([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    images = np.zeros((3, 32, 32, 3), np.uint8)
    labels, predicted = np.int32([0, 1, 1]), np.int32([0, 1, 0])
    names = ("a.png", "b.png", "c.png")
    return Predictions(
        ("ants", "bees"), names, images.__getitem__, labels, predicted, probabilities
    )


def test_an_epoch_is_one_line_a_row_and_a_point_on_each_curve(folder, capsys):
    reports = Reports(folder, -1, [])
    reports.epoch([START, FIRST], last_epoch=10, skipped=0)
    reports.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "head     epoch   1/10   train loss 0.7000 accuracy 0.6000"
        "  validation loss 0.6500 accuracy 0.6250  812 images/s  18 s left"
    )
    assert read_history(folder / "history.csv")[1] == FIRST
    assert curves(folder) == pytest.approx(
        {
            ("train", "loss", 63): 0.7,
            ("train", "accuracy", 63): 0.6,
            ("train", "learning_rate", 63): 1e-4,
            ("train", "images_per_second", 63): 812.4,
            ("validation", "loss", 0): 0.9,
            ("validation", "accuracy", 0): 0.5,
            ("validation", "loss", 63): 0.65,
            ("validation", "accuracy", 63): 0.625,
        }
    )
    assert (folder / "plots" / "curves.png").exists()


def test_the_evaluation_before_training_has_no_training_figures(folder, capsys):
    reports = Reports(folder, -1, [])
    reports.epoch([START], last_epoch=10, skipped=0)
    reports.close()
    line = capsys.readouterr().out
    assert line.startswith("before training ") and "train loss" not in line
    assert line.endswith("validation loss 0.9000 accuracy 0.5000\n")
    assert {split for split, _, _ in curves(folder)} == {"validation"}


def test_updates_that_were_left_out_are_counted_in_the_line(folder, capsys):
    reports = Reports(folder, -1, [])
    reports.epoch([START, FIRST], last_epoch=10, skipped=3)
    reports.close()
    assert capsys.readouterr().out.endswith("updates left out: 3\n")


def test_what_an_epoch_says_is_in_the_files_before_its_checkpoint_is_written(folder, monkeypatch):
    order = []
    for name in ("scalars", "flush"):
        monkeypatch.setattr(Summaries, name, noting(order, name, getattr(Summaries, name)))
    reports = Reports(folder, -1, [])
    reports.epoch([START, FIRST], last_epoch=10, skipped=0)
    assert ("train", "loss", 63) in curves(folder)  # though nothing was closed
    assert order[-1] == "flush"
    reports.close()


def test_a_run_that_goes_on_forgets_what_came_after_its_checkpoint(folder):
    reports = Reports(folder, -1, [])
    reports.epoch([START, FIRST], 10, 0)
    reports.epoch([START, FIRST, SECOND], 10, 0)
    reports.close()
    Reports(folder, 63, [START, FIRST]).close()
    assert [row.epoch for row in read_history(folder / "history.csv")] == [0, 1]
    assert {step for _, _, step in curves(folder)} == {0, 63}


def test_points_that_got_lost_are_made_again_from_the_history(folder):
    Reports(folder, -1, []).close()
    reports = Reports(folder, 63, [START, FIRST])
    reports.epoch([START, FIRST, SECOND], 10, 0)
    reports.close()
    steps = {step for split, tag, step in curves(folder) if (split, tag) == ("train", "loss")}
    assert steps == {63, 126}


def test_the_layer_table_is_said_and_shown(folder, capsys):
    reports = Reports(folder, -1, [])
    reports.layers("head", [("Conv1", "1-2", 496, 0), ("head", "", 1281, 1281)], 0)
    reports.close()
    said = capsys.readouterr().out
    assert "Phase head:" in said and "frozen" in said and "1,281" in said
    assert "layers/head" in tags(folder)


def test_the_configuration_is_shown(folder):
    reports = Reports(folder, -1, [])
    reports.configuration({"workdir": "runs/ü", "seed": 0, "train_limit": None}, {"classes": ["a"]})
    reports.close()
    assert "configuration" in tags(folder)


def test_a_figure_is_a_file_and_an_image_in_tensorboard(folder):
    reports = Reports(folder, -1, [])
    reports.images("confusion", plots.confusion(np.eye(2, dtype=int), ["a", "b"]), 7, "test")
    reports.close()
    assert (folder / "plots" / "confusion.png").stat().st_size > 1000
    assert "confusion" in tags(folder)


def test_a_figure_is_there_when_both_the_file_and_the_image_are(folder):
    first = Reports(folder, -1, [])
    assert not first.has_images("samples", step=0)
    first.images("samples", plots.new_figure(1.0), step=0)
    assert first.has_images("samples", step=0)
    first.close()
    again = Reports(folder, 0, [])
    assert again.has_images("samples", step=0)
    assert not again.has_images("samples", step=1)
    (folder / "plots/samples.png").unlink()
    assert not again.has_images("samples", step=0)
    again.close()
    anew = Reports(folder, -1, [])  # before the first checkpoint, all begins again
    anew.images("others", plots.new_figure(1.0), step=0)
    assert not anew.has_images("samples", step=0)
    anew.close()


def test_the_test_sets_numbers_are_points_of_its_own_split(folder):
    reports = Reports(folder, -1, [])
    figures = {"loss": 0.5, "accuracy": 0.75, "count": 3, "accuracy_interval": [0.1, 0.9]}
    reports.test(predictions(), figures, 126)
    reports.close()
    found = {key: value for key, value in curves(folder).items() if key[1] in figures}
    assert found == {("test", "loss", 126): 0.5, ("test", "accuracy", 126): 0.75}


def test_validation_images_are_shown_with_what_the_network_says(folder):
    reports = Reports(folder, -1, [])
    reports.validated(predictions(), 63)
    reports.close()
    assert {"predictions", "mistakes"} <= tags(folder)


def test_what_cannot_be_written_is_said_and_training_goes_on(folder, capsys):
    reports = Reports(folder, -1, [])
    (folder / "plots").write_text("a file where the folder should be")
    reports.epoch([START, FIRST], 10, 0)
    reports.close()
    said = capsys.readouterr().out
    assert "warning: the plot curves could not be written" in said
    assert read_history(folder / "history.csv")[1] == FIRST


def test_a_defect_of_ours_is_not_taken_for_a_full_disk(folder):
    reports = Reports(folder, -1, [])
    reports.images("curves", None, 0)
    with pytest.raises(AttributeError):
        reports.close()


def test_without_the_process_that_renders_there_is_a_warning(folder, capsys):
    reports = Reports(folder, -1, [])
    reports.images("one", plots.new_figure(1.0), 0)
    assert reports.has_images("one", 0)
    reports._renderer._process.kill()
    reports.images("another", plots.new_figure(1.0), 0)
    reports.close()
    said = capsys.readouterr().out
    assert said == "warning: the plot another could not be written (its process ended: SIGKILL)\n"


def test_curves_that_a_kill_has_left_behind_are_drawn_by_the_next_start(folder):
    Reports(folder, 63, [START, FIRST]).close()
    assert (folder / "plots" / "curves.png").exists()


def test_a_folder_that_cannot_be_written_from_the_start_is_an_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot be written") as error:
        Reports(tmp_path / "run", -1, [])
    assert "\n" not in str(error.value)


def test_the_time_left_is_that_of_the_epochs_left_in_the_phase(folder, capsys):
    reports = Reports(folder, -1, [])
    slow = dataclasses.replace(FIRST, seconds=90.0)
    reports.epoch([START, slow], last_epoch=3, skipped=0)
    reports.close()
    assert capsys.readouterr().out.endswith("  3 min left\n")
