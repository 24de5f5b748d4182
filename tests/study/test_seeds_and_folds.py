"""Studies over seeds and folds, with a stand-in for train.py."""

import json
import os
import random
import signal
import time

import pytest

from lib.runs import folder as run_folder
from tests.study.program import kill, start, study, table


@pytest.fixture(scope="module")
def undisturbed(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "of seeds and folds"
    return folder, study(f"--study={folder}", "--seeds=2", "--folds=3", *flags)


def results(folder):
    files = sorted(folder.glob("runs/*/result.json"))
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def test_each_seed_is_run_with_each_fold(undisturbed):
    folder, said = undisturbed
    names = [f"seed-{seed}-fold-{fold}" for seed in (0, 1) for fold in (1, 2, 3)]
    assert list(results(folder)) == names
    for name in names:
        flags = json.loads((folder / "runs" / name / "config.json").read_text())["flags"]
        assert name == f"seed-{flags['seed']}-fold-{flags['fold'][0]}" and flags["fold"][1:] == "/3"
        assert results(folder)[name]["weights_sha256"][:12] in said


def test_a_study_that_was_killed_five_times_says_the_same(undisturbed, flags, tmp_path):
    reference, said = undisturbed
    asked = [f"--study={tmp_path / 'study'}", "--seeds=2", "--folds=3", *flags]
    plan = tmp_path / "study" / "study.json"
    waits = random.Random(0)
    for _ in range(5):
        before = plan.stat().st_mtime_ns if plan.exists() else 0
        process = start(*asked)
        while not plan.exists() or plan.stat().st_mtime_ns == before:
            time.sleep(0.05)
        time.sleep(waits.uniform(0, 1.5))
        kill(process)
    assert table(study(*asked)) == table(said)
    assert results(tmp_path / "study") == results(reference)


def test_the_folder_alone_says_what_is_to_be_done(undisturbed):
    folder, said = undisturbed
    assert table(study(f"--study={folder}")) == table(said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_nothing_is_lost(flags, tmp_path, number):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=4", "--jobs=2", *flags]
    process = start(*asked)
    while len(list(tmp_path.glob("study/runs/*/history.csv"))) < 2:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, err) == (128 + number, "")
    assert f"Stopped by {number.name}: the same command goes on from here" in out
    assert len(results(tmp_path / "study")) < 4
    study(*asked)
    assert len(results(tmp_path / "study")) == 4


def test_a_run_that_does_not_listen_is_ended_too(flags, tmp_path):
    process = start(f"--study={tmp_path / 'study'}", "--seeds=1", *flags, "--dropout=0.97",
                    "--head_epochs=1000")  # fmt: skip
    while not list(tmp_path.glob("study/runs/*/history.csv")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130 and "the same command goes on" in out
    with run_folder.locked(tmp_path / "study" / "runs" / "seed-0"):
        pass  # nobody has it any more


def test_no_room_for_what_the_study_writes_is_one_line(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=1", *flags]
    error = study(*asked, code=1, THAW_FAULT="write:study.html@1=ENOSPC").splitlines()[-1]
    assert error.startswith("python -m lib.study: error: ") and "No space left on device" in error
    assert "All of it on one page" in study(*asked)


def test_a_run_that_somebody_else_stops_has_not_failed(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=1", *flags]
    process = start(*asked)
    run = tmp_path / "study" / "runs" / "seed-0"
    while not (run / "history.csv").exists():
        time.sleep(0.05)
    os.kill(int((run / ".lock").read_text()), signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 1 and not (tmp_path / "study" / "failed").exists()
    assert err == (
        "python -m lib.study: error: seed-0 was stopped by a signal: the same command goes on from"
        " here\n"
    )


def test_two_processes_share_the_runs_of_a_study(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=4", *flags]
    both = [start(*asked), start(*asked)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert table(said[0]) == table(said[1])
    for seed in range(4):
        assert sum(f"seed-{seed}: begins" in each for each in said) == 1


def test_a_run_that_fails_is_named_and_the_others_go_on(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=2", *flags, "--dropout=0.99"]
    said = study(*asked, code=1)
    for seed in (0, 1):
        assert f"seed-{seed}: failed: a dropout of 0.99 is too much; give less; the others" in said
    assert said.count("failed: a dropout") == 4  # and in the table
    assert "begins" not in study(*asked, code=1)  # it is known
    (tmp_path / "study" / "failed" / "seed-1.txt").unlink()
    assert "seed-1: begins" in study(*asked, code=1)


def test_a_full_disk_ends_the_study_with_one_line_and_marks_nothing(flags, tmp_path):
    asked = [f"--study={tmp_path / 'study'}", "--seeds=2", *flags, "--dropout=0.98"]
    error = study(*asked, code=1).splitlines()[-1]
    assert error.startswith("python -m lib.study: error: seed-0: no room (No space left on device)")
    assert not (tmp_path / "study" / "failed").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--seeds=2", "--", "--nope=3"], ": Unknown command line flag 'nope'"),
        (["--seeds=0"], "argument --seeds: '0' is not a number"),
        (["--folds=1"], "argument --folds: '1' is not a number of folds"),
        ([], "expected --seeds, --folds or --space"),
        (["--seeds=2", "--", "--workdir=x"], "--workdir is decided by the study itself"),
        (["--seeds=2", "--", "--dry_run"], "--dry_run is decided by the study itself"),
        (["--seeds=2", "--", "--find_rate=head"], "--find_rate is decided by the study itself"),
        (["--folds=2", "--", "--fold=1/2"], "--fold is decided by the study itself"),
        (["--seeds=2", "--", "--head_optimizer=adm"], "there is no optimizer 'adm'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_nothing_is_written(
    two_classes, tmp_path, arguments, line
):
    flags = [] if "--" in arguments else ["--"]
    small = [*flags, f"--dataset={two_classes}", "--weights=none", "--image_size=32"]
    real = "--head_optimizer=adm" in arguments  # all that TensorFlow must be asked for
    said = study(f"--study={tmp_path / 's'}", *arguments, *small, code=2, real=real)
    assert said.startswith("python -m lib.study: error: ") and said.count("\n") == 1
    assert line in said
    assert not list(tmp_path.iterdir())


def test_the_folder_of_another_study_is_refused(undisturbed, flags):
    folder, _ = undisturbed
    said = study(f"--study={folder}", "--seeds=3", "--folds=3", *flags, "--dropout=0.3", code=1)
    assert said.count("\n") == 1 and "holds another study, which differs in seeds" in said
    assert "seeds (2 there, 3 now), dropout (0.2 there, 0.3 now)" in said


def test_a_folder_of_something_else_is_refused(undisturbed, flags, tmp_path):
    folder, _ = undisturbed
    run = folder / "runs" / "seed-0-fold-1"
    said = study(f"--study={run}", "--seeds=2", *flags, code=1)
    assert f"--study={run} is a run" in said and said.count("\n") == 1
    (tmp_path / "letters").mkdir()
    said = study(f"--study={tmp_path}", "--seeds=2", *flags, code=1)
    assert "is neither empty nor a study (letters is in it)" in said and said.count("\n") == 1
