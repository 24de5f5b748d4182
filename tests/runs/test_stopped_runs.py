"""Runs that are stopped by signals; tests/faults has those that are killed."""

import signal

from tests.runs.conftest import start, train
from tests.runs.results import assert_same_outcome

STOPPED = "Stopped by {}: the same command goes on from here"


def steps_of_checkpoints(folder):
    return {int(path.stem.removeprefix("ckpt-")) for path in folder.glob("checkpoints/ckpt-*.json")}


def test_a_run_that_is_stopped_in_both_phases_ends_in_the_same_bits(both_phases, flags, tmp_path):
    command = (*flags, f"--workdir={tmp_path / 'run'}")

    # Ctrl-C in the middle of the first epoch: training begins right after this line.
    process = start(*command)
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("before training"):
            process.send_signal(signal.SIGINT)
    process.wait()
    errors = process.stderr.read()
    process.stdout.close(), process.stderr.close()
    assert process.returncode == 130, errors
    assert lines[-1] == STOPPED.format("SIGINT") and errors == ""
    stood = max(steps_of_checkpoints(tmp_path / "run"))
    assert 0 < stood < 6

    # From there the fifteenth step is in the middle of fine-tuning, between two checkpoints.
    done = train(*command, fault=f"step@{15 - stood}=SIGTERM", code=143)
    assert f"Resuming at step {stood}" in done.out and done.err == ""
    assert done.out.splitlines()[-1] == STOPPED.format("SIGTERM")
    assert max(steps_of_checkpoints(tmp_path / "run")) == 15

    done = train(*command)
    assert "Resuming at step 15" in done.out
    assert_same_outcome(tmp_path / "run", both_phases.folder)


def test_a_signal_before_anything_was_done_ends_the_program_with_its_code(flags, tmp_path):
    done = train(*flags, f"--workdir={tmp_path / 'run'}", fault="tensorflow@1=SIGINT", code=130)
    assert done.out.splitlines()[-1] == STOPPED.format("SIGINT")
    assert done.err == ""
