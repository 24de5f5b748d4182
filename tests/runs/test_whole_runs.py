import csv
import json
import shutil

import pytest
import tensorflow as tf

from lib.runs.history import read_history
from tests.runs.conftest import Run, train
from tests.runs.results import assert_same_outcome, history, result, series


def checkpoint_steps(folder):
    return sorted(int(path.stem.removeprefix("ckpt-")) for path in folder.glob("ckpt-*.json"))


def logits_in(folder):
    """How many logits the head has in the newest checkpoint of a folder."""
    reader = tf.train.load_checkpoint(str(tf.train.latest_checkpoint(str(folder))))
    shapes = reader.get_variable_to_shape_map().values()
    (logits,) = {shape[1] for shape in shapes if len(shape) == 2 and shape[0] == 1280}
    return logits


def test_a_run_says_nothing_on_stderr(both_phases):
    assert both_phases.done.err == ""


def test_a_run_reports_its_work_in_order(both_phases):
    story = [
        "Training head and finetune in ",
        "22 training, 16 validation and 4 test images of ants, bees",
        "Phase head:",
        "before training ",
        "head     epoch   1/2 ",
        "head     epoch   2/2 ",
        "Phase finetune:",
        "finetune epoch   3/4 ",
        "finetune epoch   4/4 ",
        "Test set: accuracy ",
    ]
    lines = iter(both_phases.done.out.splitlines())
    for beginning in story:
        assert any(line.startswith(beginning) for line in lines), beginning


def test_an_epochs_line_has_both_losses_and_accuracies_the_speed_and_the_time_left(both_phases):
    (line,) = (x for x in both_phases.done.out.splitlines() if x.startswith("finetune epoch   3/4"))
    row = read_history(both_phases.folder / "history.csv")[3]
    assert f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}" in line
    assert f"validation loss {row.validation_loss:.4f}" in line
    assert f"accuracy {row.validation_accuracy:.4f}" in line
    assert f"{row.images_per_second:.0f} images/s" in line and line.endswith(" left")


def test_a_run_leaves_its_files(both_phases):
    folder = both_phases.folder
    for name in ("config.json", "history.csv", "result.json", "predictions.csv", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert {"training_samples", "augmentation", "curves", "predictions", "confusion"} <= plots
    for split in ("train", "validation", "test"):
        assert list((folder / "tensorboard" / split).glob("*tfevents*"))
    leftovers = [
        path for path in folder.rglob("*") if "partial" in path.name or "_temp" in path.name
    ]
    assert leftovers == []


def test_the_newest_checkpoints_are_kept_and_the_best_and_the_head_besides(both_phases):
    folder = both_phases.folder
    assert checkpoint_steps(folder / "checkpoints") == [20, 22, 24]
    assert checkpoint_steps(folder / "phases" / "head") == [12]
    assert checkpoint_steps(folder / "phases" / "finetune") == [24]
    rows = read_history(folder / "history.csv")[1:]
    best = min(rows, key=lambda row: (row.validation_loss, -row.validation_accuracy))
    assert checkpoint_steps(folder / "best") == [best.step]


def test_the_configuration_says_what_the_run_is_and_what_it_was_made_with(both_phases):
    saved = json.loads((both_phases.folder / "config.json").read_text())
    assert saved["flags"]["seed"] == 0 and saved["flags"]["batch_size"] == 4
    assert saved["facts"]["classes"] == ["ants", "bees"]
    assert saved["facts"]["images"] == {"train": 22, "validation": 16, "test": 4}
    assert {"python", "tensorflow", "keras", "numpy", "commit"} <= set(saved["made_by"])


def test_the_history_has_the_evaluation_before_training_and_a_row_an_epoch(both_phases):
    rows = read_history(both_phases.folder / "history.csv")
    assert [(row.epoch, row.phase, row.step) for row in rows] == [
        *((0, "start", 0), (1, "head", 6), (2, "head", 12)),
        *((3, "finetune", 18), (4, "finetune", 24)),
    ]
    assert [row.learning_rate for row in rows[1:]] == pytest.approx([0.01, 0.01, 1e-4, 1e-4])


def test_training_trains(both_phases):
    rows = read_history(both_phases.folder / "history.csv")
    assert len({row.train_loss for row in rows[1:]}) == 4
    assert rows[-1].train_loss < rows[1].train_loss


def test_the_result_has_the_figures_of_the_last_epoch_the_best_and_the_test(both_phases):
    found = result(both_phases.folder)
    last = read_history(both_phases.folder / "history.csv")[-1]
    assert (found["phase"], found["epoch"], found["step"]) == ("finetune", 4, 24)
    assert len(found["weights_sha256"]) == 64
    assert found["train"] == {"loss": last.train_loss, "accuracy": last.train_accuracy}
    assert found["validation"]["loss"] == last.validation_loss
    assert found["validation"]["accuracy"] == last.validation_accuracy
    assert found["validation"]["count"] == 16
    assert found["best"]["step"] in checkpoint_steps(both_phases.folder / "best")
    assert found["test"]["count"] == 4 and len(found["test"]["accuracy_interval"]) == 2
    seconds = found["seconds"]
    assert set(seconds) == {"start", "head", "finetune", "test", "total"}
    # The end of the start, up to the first step, is a part of the head phase already.
    after_opening = seconds["head"] + seconds["finetune"] + seconds["test"]
    assert after_opening < seconds["total"] < after_opening + seconds["start"]
    assert found["images_per_second"]["head"] > 0 and found["peak_memory_mb"] > 50


def test_the_predictions_are_a_row_a_test_image_and_agree_with_the_result(both_phases):
    with open(both_phases.folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"file", "true_class", "predicted_class", "probability"}
    assert len(rows) == 4
    assert all(row["file"].startswith(f"validation/{row['true_class']}/") for row in rows)
    assert all(0.5 <= float(row["probability"]) <= 1.0 for row in rows)
    right = sum(row["true_class"] == row["predicted_class"] for row in rows)
    assert result(both_phases.folder)["test"]["accuracy"] == right / 4


def test_tensorboards_curves_are_the_history(both_phases):
    curves = series(both_phases.folder)
    rows = read_history(both_phases.folder / "history.csv")
    for split, tag, column, first in (
        ("train", "loss", "train_loss", 1),
        ("train", "accuracy", "train_accuracy", 1),
        ("train", "learning_rate", "learning_rate", 1),
        ("train", "images_per_second", "images_per_second", 1),
        ("validation", "loss", "validation_loss", 0),
        ("validation", "accuracy", "validation_accuracy", 0),
    ):
        steps, values = zip(*curves[split, tag], strict=True)
        assert steps == tuple(row.step for row in rows[first:])
        assert values == pytest.approx([getattr(row, column) for row in rows[first:]], rel=1e-6)
    test = result(both_phases.folder)["test"]
    ((step, loss),) = curves["test", "loss"]
    assert loss == pytest.approx(test["loss"], rel=1e-6)
    assert step == result(both_phases.folder)["best"]["step"]


def test_two_classes_have_one_logit(both_phases):
    assert logits_in(both_phases.folder / "checkpoints") == 1


def test_the_same_command_in_another_folder_gives_the_same_bits(both_phases, flags, tmp_path):
    train(*flags, f"--workdir={tmp_path / 'again'}")
    assert_same_outcome(tmp_path / "again", both_phases.folder)


def test_the_same_command_in_the_same_folder_has_nothing_to_do(both_phases, flags):
    names = ("history.csv", "result.json", "predictions.csv", "report.html")
    before = [(both_phases.folder / name).read_bytes() for name in names]
    done = train(*flags, f"--workdir={both_phases.folder}")
    assert "Phase head: finished already, after 2 of 2 epochs" in done.out
    assert "Phase finetune: finished already, after 2 of 2 epochs" in done.out
    assert "Nothing to do: the result is in" in done.out
    assert [(both_phases.folder / name).read_bytes() for name in names] == before


def test_fine_tuning_in_an_empty_folder_trains_the_head_first_and_says_so(
    both_phases, flags, tmp_path
):
    done = train(*flags, "--phase=finetune", f"--workdir={tmp_path / 'run'}")
    assert "This run has no finished head yet: it is trained first" in done.out
    assert_same_outcome(tmp_path / "run", both_phases.folder)


@pytest.fixture(scope="module")
def in_pieces(flags, tmp_path_factory):
    """A run that was asked for little by little, and what each command said."""
    folder = tmp_path_factory.mktemp("runs") / "in pieces"
    commands = [
        ["--phase=head", "--head_epochs=1"],
        ["--phase=head", "--head_epochs=1"],
        ["--phase=finetune", "--finetune_epochs=1"],
        [],
    ]
    said = [train(*flags, f"--workdir={folder}", *command).out for command in commands]
    return folder, said


def test_the_head_phase_alone_ends_with_a_result(in_pieces):
    _, (first, *_) = in_pieces
    assert "Phase head:" in first and "Phase finetune" not in first
    assert "Test set: accuracy " in first


def test_the_head_phase_twice_does_nothing_the_second_time_and_says_so(in_pieces):
    _, (_, second, *_) = in_pieces
    assert "Phase head: finished already, after 1 of 1 epochs" in second
    assert "Nothing to do" in second and "epoch   1/1" not in second


def test_more_epochs_of_both_phases_continue_to_what_would_have_been_asked_at_once(
    in_pieces, both_phases
):
    folder, (_, _, third, fourth) = in_pieces
    assert "Resuming at step 6" in third and "no finished head yet" in third
    assert "Resuming at step 18" in fourth
    assert_same_outcome(folder, both_phases.folder)


def test_another_data_set_by_content_is_refused_though_the_path_is_the_same(
    flags, both_phases, three_classes
):
    done = train(*flags, f"--workdir={both_phases.folder}", f"--dataset={three_classes}", code=1)
    assert "holds another run, which differs in classes" in done.err


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_changed_flag_is_refused_with_what_differs_and_touches_nothing(both_phases, flags):
    before = contents(both_phases.folder)
    changed = ("--seed=1", "--dropout=0.5")
    done = train(*flags, *changed, f"--workdir={both_phases.folder}", code=1)
    assert "seed (0 there, 1 now), dropout (0.2 there, 0.5 now)" in done.err
    done = train(*flags, "--head_learning_rate=0.5", f"--workdir={both_phases.folder}", code=1)
    assert "head_learning_rate (0.01 there, 0.5 now), and its phase head has begun" in done.err
    after = contents(both_phases.folder)
    lock = both_phases.folder / ".lock"
    assert {**after, lock: b""} == {**before, lock: b""}


@pytest.fixture(scope="module")
def three(flags, three_classes, tmp_path_factory):
    """One epoch of each phase on three classes, given as class folders alone."""
    folder = tmp_path_factory.mktemp("runs") / "three"
    few = (f"--dataset={three_classes}", "--head_epochs=1", "--finetune_epochs=1")
    return Run(folder, train(*flags, *few, f"--workdir={folder}"))


def test_three_classes_have_one_logit_each_and_each_its_probability(three):
    assert three.done.err == ""
    assert "ants, bees, cicadæ" in three.done.out
    assert logits_in(three.folder / "checkpoints") == 3
    with open(three.folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["true_class"] for row in rows} == {"ants", "bees", "cicadæ"}
    assert all(1 / 3 <= float(row["probability"]) <= 1.0 for row in rows)
    assert len(history(three.folder)) == 3


def test_an_evaluation_prints_and_keeps_its_figures_and_leaves_the_result(both_phases, flags):
    before = (both_phases.folder / "result.json").read_bytes()
    done = train("--phase=evaluate", f"--workdir={both_phases.folder}")
    assert (both_phases.folder / "result.json").read_bytes() == before
    found = json.loads((both_phases.folder / "evaluation.json").read_text())
    expected = result(both_phases.folder)
    assert found["directory"] is None
    assert found["step"] == expected["best"]["step"]
    assert {name: found[name] for name in expected["test"]} == expected["test"]
    assert f"Test set: accuracy {found['accuracy']:.4f}" in done.out and done.err == ""


def test_an_evaluation_of_other_images_names_their_folder(both_phases, two_classes):
    other = two_classes / "train"
    done = train("--phase=evaluate", f"--workdir={both_phases.folder}", f"--test_dir={other}")
    found = json.loads((both_phases.folder / "evaluation.json").read_text())
    assert (found["directory"], found["count"]) == (str(other), 22)
    assert 0.0 <= found["accuracy"] <= 1.0 and found["loss"] > 0.0
    assert f"{other}: accuracy {found['accuracy']:.4f}" in done.out


def test_an_evaluation_lists_the_images_that_it_leaves_out(both_phases, two_classes, tmp_path):
    other = shutil.copytree(two_classes / "train", tmp_path / "other")
    (other / "ants" / "broken.png").write_bytes(b"")
    evaluate = ("--phase=evaluate", f"--workdir={both_phases.folder}", f"--test_dir={other}")
    assert "'ants/broken.png' (the file is empty)" in train(*evaluate, code=1).err
    listed = both_phases.folder / "evaluation" / "skipped.csv"
    done = train(*evaluate, "--bad_images=skip")
    assert f"warning: images left out: 1; see {listed}" in done.out
    assert listed.read_text() == "file,reason\nants/broken.png,the file is empty\n"
    assert json.loads((both_phases.folder / "evaluation.json").read_text())["count"] == 22
    train("--phase=evaluate", f"--workdir={both_phases.folder}")
    assert not listed.exists()
