"""What is made of the end of a run, by what its log says."""

import subprocess
import sys

import pytest

from lib.study import processes
from lib.study.plan import StudyRun
from lib.study.processes import Processes, error_of

ROOM = "train.py: error: x cannot be written: make room; the same command then goes on\n"
CRASH = "Traceback (most recent call last):\n  File x\nValueError: two\n"


@pytest.mark.parametrize(
    ("said", "code", "error"),
    [
        ("Training\ntrain.py: error: a is b\n", 1, "a is b"),
        (f"{CRASH}train.py: error: a is b\n", 1, "a is b"),
        (CRASH, 1, "exit code 1: ValueError: two"),
        ("Training\nepoch 1\n\n", -9, "signal SIGKILL: epoch 1"),
        ("", -11, "signal SIGSEGV: it said nothing"),
        ("Training\n", 1, "does not say why: make room on the disk; the same command then goes on"),
    ],
)
def test_the_error_of_a_run_is_what_it_said_last(tmp_path, monkeypatch, said, code, error):
    train = tmp_path / "train.py"
    train.write_text(f"print({said!r}, end='')")
    monkeypatch.setattr(processes, "TRAIN", train)
    run = StudyRun("a", ("--seed=1",), tmp_path, str(tmp_path))
    run.log.parent.mkdir()
    run.log.write_text(f"{ROOM}cut sho")  # of a start before
    process = Processes().start(run)
    process.wait()
    assert error_of(run, code).endswith(error)
    assert (error_of(run, code) == error) == (not error.startswith("does not"))
    command = f"$ {sys.executable} {train} --seed=1 --workdir={run.folder}"
    assert command in run.log.read_text().splitlines()
    assert subprocess.list2cmdline(process.args) == command[2:]
