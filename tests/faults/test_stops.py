"""A run that is asked to stop says how to go on, and goes on to the same bits."""

import pytest

from tests.faults.program import Outcome, history

LINE = "Stopped by {}: the same command goes on from here"


def checkpoints(workdir):
    return {
        int(path.stem.removeprefix("ckpt-")) for path in workdir.glob("checkpoints/ckpt-*.json")
    }


@pytest.mark.parametrize(
    ("place", "signal", "code"),
    [("locked", "SIGINT", 130), ("decode@3", "SIGTERM", 143), ("tensorflow", "SIGINT", 130)],
)
def test_asked_before_training_it_ends_where_it_is(reference, tmp_path, place, signal, code):
    program = reference.program
    if place.startswith("decode"):
        program = program.with_flags("--image_size=33")  # which no cache holds yet
    ended = program.run(tmp_path, fault=f"{place}={signal}")
    assert (ended.code, ended.stderr) == (code, "")
    assert ended.stdout.splitlines()[-1] == LINE.format(signal)


def test_asked_at_any_stage_it_saves_that_very_step_and_goes_on_to_the_same_bits(
    reference, tmp_path
):
    for fault, code, newest in (
        ("write:config.json=SIGTERM", 143, None),  # before there is anything to save
        ("evaluation@2=SIGINT", 130, None),
        ("step@1=SIGINT", 130, 1),
        ("evaluation@2=SIGTERM", 143, 3),  # of the head's epoch, whose steps are all taken
        ("phase:finetune=SIGINT", 130, 3),  # while it is prepared, which changes nothing
        ("outcome=SIGTERM", 0, 9),  # all is done but writing it down
    ):
        ended = reference.program.run(tmp_path, fault=fault)
        assert (ended.code, ended.stderr) == (code, ""), fault
        assert max(checkpoints(tmp_path), default=None) == newest, fault
        if code:
            assert ended.stdout.splitlines()[-1] == LINE.format(fault.split("=")[1])
    assert Outcome.of(tmp_path) == reference.outcome


def test_asked_twice_it_ends_at_once_and_goes_on_from_the_checkpoint_before(reference, tmp_path):
    ended = reference.program.run(tmp_path, fault="step@5=SIGTERM,checkpoints:data@5=SIGTERM")
    assert ended.code == -15
    assert checkpoints(tmp_path) == {2, 3, 4}
    # What is asked once waits for its figures, which are not drawn a second time.
    stopped = reference.program.run(tmp_path, fault="step@1=SIGINT")
    assert stopped.code == 130 and "Resuming at step 4" in stopped.stdout
    of_the_start = [tmp_path / f"plots/{name}.png" for name in ("training_samples", "augmentation")]
    drawn = [path.stat().st_mtime_ns for path in of_the_start]
    reference.program.finish(tmp_path)
    assert [path.stat().st_mtime_ns for path in of_the_start] == drawn
    assert Outcome.of(tmp_path) == reference.outcome


def test_more_epochs_of_a_finished_run_are_those_it_would_have_had(reference, tmp_path):
    reference.program.with_flags("--finetune_epochs=1").finish(tmp_path)
    assert len(history(tmp_path)) == len(reference.outcome.history) - 1
    reference.program.finish(tmp_path)
    outcome = Outcome.of(tmp_path)
    assert outcome.weights_sha256 == reference.outcome.weights_sha256
    assert outcome.history == reference.outcome.history
    assert outcome.predictions == reference.outcome.predictions
