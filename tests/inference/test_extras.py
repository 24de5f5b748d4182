"""A trained run averaged over views and with another run, and calibrated."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib import predict
from lib.inference.calibration import calibrated
from lib.inference.trained import open_calibrated, open_trained
from lib.runs import folder as run_folder

ROOT = Path(__file__).parents[2]


def train(*flags):
    command = [sys.executable, ROOT / "train.py", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """A copy of the run that was evaluated with all of it, and what that said."""
    home = tmp_path_factory.mktemp("extras")
    for name in ("run", "other"):
        ignored = shutil.ignore_patterns("explanations")  # of other tests
        shutil.copytree(trained_run, home / name, ignore=ignored)
    asked = ["--tta=flip", f"--ensemble={home / 'other'}", "--calibrate"]
    done = train(f"--workdir={home / 'run'}", "--phase=evaluate", *asked)
    assert done.returncode == 0, done.stderr
    return home / "run", done.stdout


def predicted(capsys, *arguments):
    """Predicts, and returns what was said."""
    capsys.readouterr()
    assert predict.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_evaluation_sets_each_mean_beside_the_single_run(run):
    folder, said = run
    found = json.loads((folder / "evaluation.json").read_text())
    for name, title in (("tta", "Mean over views"), ("ensemble", "Mean over runs")):
        low, high = found[name]["accuracy_interval"]
        figures = f"accuracy {found[name]['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
        assert f"{title}: {figures}" in said
        assert 0 < found[name]["p_value"] <= 1
        gain, (low, high) = found[name]["accuracy_gain"], found[name]["accuracy_gain_interval"]
        assert gain == pytest.approx(found[name]["accuracy"] - found["accuracy"])
        assert low < gain < high
        assert f"{gain:+.4f} beside the single run ({low:+.4f} to {high:+.4f})" in said


def test_the_raw_calibration_error_stands_beside_the_calibrated_one(run):
    folder, said = run
    found = json.loads((folder / "calibration.json").read_text())
    validation, test = found["validation"], found["test"]
    assert validation["loss_calibrated"] <= validation["loss"] + 1e-9
    figures = test["expected_calibration_error"], test["expected_calibration_error_calibrated"]
    assert "calibration error {:.4f} raw, {:.4f} calibrated".format(*figures) in said
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["expected_calibration_error"] == pytest.approx(figures[0])


def test_it_stands_in_the_result_and_on_the_page_of_the_run_and_the_rest_is_as_it_was(
    run, trained_run
):
    folder, _ = run
    before, after = (
        json.loads((each / "result.json").read_text()) for each in (trained_run, folder)
    )
    found = after.pop("calibration")
    assert found == json.loads((folder / "calibration.json").read_text()) and after == before
    old, new = ((each / "report.html").read_text().splitlines() for each in (trained_run, folder))
    rows = (
        f"<tr><td>expected calibration error at the temperature {found['temperature']:.3g}</td><td>"
        f"{found['test']['expected_calibration_error_calibrated']:.4f}</td></tr>"
        f"<tr><td>loss at the temperature {found['temperature']:.3g}</td><td>"
        f"{found['test']['loss_calibrated']:.4f}</td></tr>"
    )
    assert "\n".join(new).replace(rows, "") == "\n".join(old)


def test_predictions_are_calibrated_from_then_on(
    run, trained_run, distinct_classes, tmp_path, capsys
):
    folder, _ = run
    images = distinct_classes / "validation" / "ants"
    for name, place in (("raw", trained_run), ("scaled", folder)):
        said = predicted(capsys, f"--workdir={place}", images, f"--output={tmp_path / name}.jsonl")
        assert ("is calibrated, by the temperature" in said) == (name == "scaled")
    raw, scaled = (
        np.float32(
            [list(row["probabilities"].values()) for row in rows(tmp_path / f"{name}.jsonl")]
        )
        for name in ("raw", "scaled")
    )
    temperature = json.loads((folder / "calibration.json").read_text())["temperature"]
    np.testing.assert_allclose(scaled, calibrated(raw, temperature), atol=1e-6)
    assert not np.array_equal(raw, scaled)


def test_what_is_exported_is_calibrated(run):
    folder, _ = run
    saved = run_folder.require_saved(folder)
    classes, images = saved.facts["classes"], np.full((1, 32, 32, 3), 90, np.float32)
    raw = open_trained(folder, saved.config, classes, "best").network.model(images).numpy()
    trained, temperature = open_calibrated(folder, saved.config, classes, "best")
    np.testing.assert_allclose(trained.network.model(images).numpy(), raw / temperature, rtol=1e-5)


def test_runs_and_views_are_averaged(run, trained_run, distinct_classes, tmp_path, capsys):
    folder, _ = run
    images = distinct_classes / "validation" / "ants"
    both = [f"--workdir={trained_run}", f"--workdir={folder}", images]
    said = predicted(capsys, *both, f"--output={tmp_path / 'both.jsonl'}")
    assert "by the mean of 2 runs" in said
    for name, place in (("one", trained_run), ("two", folder)):
        predicted(capsys, f"--workdir={place}", images, f"--output={tmp_path / name}.jsonl")
    one, two, mean = (
        [row["probabilities"]["ants"] for row in rows(tmp_path / f"{name}.jsonl")]
        for name in ("one", "two", "both")
    )
    np.testing.assert_allclose(mean, np.mean([one, two], axis=0), atol=1e-6)
    said = predicted(capsys, f"--workdir={folder}", images, "--tta=flip", "--explain")
    assert "the mean of 2 views of each" in said
    assert len(list((folder / "explanations").iterdir())) == len(one)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--tta=13"], "--tta=13: expected flip"),
        (["--workdir={run}"], "a --workdir is given twice"),
        (["--workdir={other}", "--checkpoint=x/ckpt-1"], "is of one run; expected best or latest"),
    ],
)
def test_what_cannot_be_averaged_is_one_line(run, arguments, line, capsys):
    folder, _ = run
    places = {"run": folder, "other": folder.parent / "other"}
    with pytest.raises(SystemExit) as error:
        predict.main(
            [f"--workdir={folder}", "x.png", *(each.format(**places) for each in arguments)]
        )
    said = capsys.readouterr().err
    assert error.value.code == 2 and line in said and said.count("\n") == 1


@pytest.mark.parametrize("flag", ["--tta=flip", "--ensemble=x", "--calibrate"])
def test_what_is_for_evaluations_is_refused_elsewhere(flag, tmp_path):
    done = train(flag, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and re.search(r"--\w+ is for --phase=evaluate", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_run_of_other_classes_is_no_part_of_an_ensemble(run, tmp_path):
    folder, _ = run
    other = shutil.copytree(folder.parent / "other", tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["facts"]["classes"] = ["wasps", "bees"]
    (other / "config.json").write_text(json.dumps(config))
    done = train(f"--workdir={folder}", "--phase=evaluate", f"--ensemble={other}")
    assert done.returncode == 1 and f"--ensemble={other} has the classes wasps" in done.stderr


def test_a_mean_is_the_one_that_predict_gives(run, distinct_classes, tmp_path, capsys):
    folder, _ = run  # calibrated, as the other one is not
    with open(folder / "predictions.csv", newline="") as file:
        tested = list(csv.DictReader(file))
    images = [distinct_classes / row["file"] for row in tested]
    other = f"--workdir={folder.parent / 'other'}"
    for name, more in (("tta", []), ("ensemble", [other])):
        output = f"--output={tmp_path / name}.jsonl"
        predicted(capsys, f"--workdir={folder}", *more, *images, "--tta=flip", output)
        given = [row["probabilities"] for row in rows(tmp_path / f"{name}.jsonl")]
        true = [each[row["true_class"]] for each, row in zip(given, tested, strict=True)]
        found = json.loads((folder / "evaluation.json").read_text())[name]["loss"]
        assert found == pytest.approx(-np.mean(np.log(true)), rel=1e-4)
