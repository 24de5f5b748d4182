import json
import math

import pytest

from lib import compare
from lib.config import Config
from lib.errors import UserError
from lib.runs.history import Epoch, write_history
from lib.system.files import write_json
from tests.reporting.unlike import HISTORY, result


def make_run(folder, epochs=2, **flags):
    facts = {
        "classes": ["ants", "bees"],
        "images": {"train": 8, "validation": 4, "test": 4},
        "data_sha256": "a" * 64,
        "initial_weights_sha256": "b" * 64,
    }
    folder.mkdir(parents=True)
    config = {"flags": Config(workdir=str(folder), **flags).to_json(), "facts": facts}
    (folder / "config.json").write_text(json.dumps({**config, "made_by": {}}))
    rows = [Epoch.untrained(0.9, 0.4)]
    rows += [
        Epoch(n, "head", 8 * n, 1e-4, 0.8, 0.5, 0.7, 0.6, math.nan, 1.0)
        for n in range(1, epochs + 1)
    ]
    write_history(folder / "history.csv", rows)
    return folder


def test_runs_are_distinguished_by_the_shortest_names(tmp_path):
    folders = [make_run(tmp_path / name) for name in ("a/run", "b/run")]
    assert [run.name for run in compare.load(folders)] == ["a/run", "b/run"]
    folders = [tmp_path / "a" / "run", make_run(tmp_path / "a" / "other")]
    assert [run.name for run in compare.load(folders)] == ["run", "other"]


def test_only_flags_that_differ_are_shown(tmp_path):
    runs = compare.load([make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=7)])
    assert compare.flag_rows(runs) == [["--seed", "0", "7"]]
    same = compare.load([make_run(tmp_path / "c"), make_run(tmp_path / "d")])
    assert compare.flag_rows(same) == [["flags and data", "the same", "the same"]]


def test_a_run_that_is_still_trained_has_curves_and_no_results(tmp_path):
    runs = compare.load([make_run(tmp_path / "a"), make_run(tmp_path / "b", epochs=5)])
    rows = {row[0].strip(): row[1:] for row in compare.result_rows(runs)}
    assert rows["epochs"] == ["2", "5"] and rows["test accuracy"] == ["-", "-"]
    labels = compare.curves(runs).axes[0].get_legend_handles_labels()[1]
    assert labels == ["a", "b"]


@pytest.fixture
def finished(tmp_path):
    """A run that came to something, of which no figure is like another, and one that has not."""
    folder = make_run(tmp_path / "a")
    write_history(folder / "history.csv", HISTORY)
    test = {"loss": 0.66, "accuracy": 0.6, "accuracy_interval": [0.313, 0.832], "count": 10}
    test |= {"balanced_accuracy": 0.54, "roc_auc": 0.77, "expected_calibration_error": 0.33}
    write_json(folder / "result.json", result(test))
    return compare.load([folder, make_run(tmp_path / "b")])


def test_each_result_stands_in_its_own_row(finished):
    assert compare.result_rows(finished) == [
        ["epochs", "4", "2"],
        ["best epoch", "2", "-"],
        ["  validation accuracy", "0.7500 (0.598 to 0.858)", "-"],
        ["  validation loss", "0.7000", "-"],
        ["  test accuracy", "0.6000 (0.313 to 0.832)", "-"],
        ["  test loss", "0.6600", "-"],
        ["  test balanced accuracy", "0.5400", "-"],
        ["  test roc auc", "0.7700", "-"],
        ["  test expected calibration error", "0.3300", "-"],
        ["head images/s", "225", "-"],
        ["finetune images/s", "90", "-"],
        ["time", "1 min 53 s", "-"],
    ]


def test_the_curves_are_those_of_their_quantity_and_validation_is_the_bold_one(finished):
    for axes, quantity in zip(compare.curves(finished).axes, ("accuracy", "loss"), strict=True):
        thin, bold, *_ = axes.get_lines()
        assert thin.get_linewidth() < bold.get_linewidth()
        for line, split in ((thin, "train"), (bold, "validation")):
            assert list(line.get_xdata()) == [row.epoch for row in HISTORY]
            expected = [getattr(row, f"{split}_{quantity}") for row in HISTORY]
            assert list(line.get_ydata()) == pytest.approx(expected, nan_ok=True)
        assert bold.get_label() == "a"


@pytest.mark.parametrize("name", ["nowhere", "$x$_y"])
def test_what_is_no_run_is_named(tmp_path, name):
    with pytest.raises(UserError, match="holds no run"):
        compare.load([make_run(tmp_path / "a"), tmp_path / name])


def test_a_run_given_twice_and_one_that_has_not_begun_are_refused(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(UserError, match="given twice"):
        compare.load([run, run])
    begun = make_run(tmp_path / "b")
    (begun / "history.csv").unlink()
    with pytest.raises(UserError, match="first evaluation"):
        compare.load([run, begun])


@pytest.mark.parametrize("arguments", [["one"], ["one", "two", "--output=curves.txt"]])
def test_a_command_that_makes_no_sense_ends_with_code_2_and_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        compare.main(arguments)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_figure_that_cannot_be_written_is_reported_before_anything_is_printed(tmp_path, capsys):
    runs = [str(make_run(tmp_path / name)) for name in "ab"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compare.main([*runs, f"--output={tmp_path / 'file' / 'x.png'}"])
    assert not capsys.readouterr().out
