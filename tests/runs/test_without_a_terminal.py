"""A run goes on where its output is read no more."""

import csv
import shlex
import subprocess
import sys

import pytest

from tests.runs.conftest import ROOT


def shell(command, rest):
    """Runs a command and what the shell is to do with its output."""
    line = f"{shlex.join(map(str, (sys.executable, *command)))} {rest}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize("rest", ["| head -n 1", "<&- >&- 2>&-"])
def test_training_comes_to_its_end(flags, both_phases, tmp_path, rest):
    done = shell(("train.py", *flags, f"--workdir={tmp_path / 'run'}"), rest)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    found, expected = (
        folder / "predictions.csv" for folder in (tmp_path / "run", both_phases.folder)
    )
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("rest", ["| head -n 1", "2>&1 | head -n 1", ">&-"])
def test_a_table_of_predictions_is_whole(both_phases, two_classes, tmp_path, rest):
    table = tmp_path / "out.csv"
    command = ("-m", "lib.predict", f"--workdir={both_phases.folder}", f"--output={table}")
    done = shell((*command, two_classes / "validation"), rest)
    assert done.returncode == 0, done.stderr
    with open(table, newline="") as file:
        assert len(list(csv.reader(file))) == 21


def test_an_export_is_whole(both_phases, tmp_path):
    command = ("-m", "lib.export", f"--workdir={both_phases.folder}", "--format=tflite")
    done = shell((*command, f"--output={tmp_path / 'out'}", "--check=4"), "| head -n 1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "export.json").exists()


def test_a_comparison_is_drawn(both_phases, trained_run, tmp_path):
    command = ("-m", "lib.compare", both_phases.folder, trained_run)
    done = shell((*command, f"--output={tmp_path / 'curves.png'}"), "2>&1 >&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "curves.png").exists()
