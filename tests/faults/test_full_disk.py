"""A checkpoint that cannot be written ends the run; what can be drawn again only warns."""

import dataclasses
import json

import pytest

from tests.faults.program import Outcome
from tests.faults.small_disk import small_disk

FOR_A_CHECKPOINT = 1_000_000  # bytes; it takes more
FOR_SUMMARIES = 1_400_000  # bytes: enough to write them anew, and too little for a checkpoint


def steps(workdir):
    return sorted(int(path.stem[5:]) for path in workdir.glob("checkpoints/ckpt-*.json"))


def files_of_steps(workdir):
    return sorted({int(p.name.split(".")[0][5:]) for p in workdir.glob("checkpoints/ckpt-*")})


def test_a_full_disk_ends_the_run_and_with_space_it_goes_on_to_the_same_bits(reference, tmp_path):
    with small_disk(tmp_path, "64m") as disk:
        if disk is None:
            pytest.skip("this user may not mount a file system")
        program = dataclasses.replace(reference.program, prefix=disk.prefix)
        workdir, seen = disk.path / "run", disk.seen_from_here / "run"
        assert program.run(workdir, fault="step@2").code == -9
        disk.fill(leave=FOR_SUMMARIES)
        ended = program.run(workdir)
        assert ended.code == 1
        assert ended.stderr == (
            f"train.py: error: the checkpoint of step 2 cannot be written to {workdir}/checkpoints"
            f" ({ended.stderr.split('(')[1].split(')')[0]}): make room or make it writable; the"
            " same command then goes on from the checkpoint before\n"
        )
        assert "No space left on device" in ended.stderr
        assert files_of_steps(seen) == steps(seen) == [0]  # and no half of another fills the disk
        disk.free()
        assert "Resuming at step 0" in program.finish(workdir)
        assert Outcome.of(seen) == reference.outcome


def test_under_a_limit_on_file_sizes_it_is_the_same(reference, tmp_path):
    limited = dataclasses.replace(
        reference.program, prefix=("prlimit", f"--fsize={FOR_A_CHECKPOINT}")
    ).with_flags("--head_epochs=0")
    ended = limited.run(tmp_path)
    assert ended.code == 1
    assert "the checkpoint of step 0 cannot be written" in ended.stderr
    assert "File too large" in ended.stderr
    assert list(tmp_path.glob("*/ckpt-*")) == []


@pytest.mark.parametrize("refusal", ["1=EACCES", "3=EROFS"])  # of the best, and of the newest
def test_without_the_right_to_write_a_checkpoint_the_one_before_stays(reference, tmp_path, refusal):
    ended = reference.program.run(tmp_path, fault=f"write:ckpt-3.json@{refusal}")
    assert ended.code == 1
    assert "the checkpoint of step 3 cannot be written" in ended.stderr
    assert files_of_steps(tmp_path) == steps(tmp_path) == [0, 2]


def test_a_plot_a_table_or_a_summary_that_cannot_be_written_only_warns(reference, tmp_path):
    summaries = tmp_path / "tensorboard/validation"
    summaries.mkdir(parents=True)
    (tmp_path / "config.json").write_bytes((reference.folder / "config.json").read_bytes())
    with small_disk(summaries, "32k") as disk:
        program = reference.program
        if disk:
            disk.fill(leave=4096)  # enough to begin with
            program = dataclasses.replace(program, prefix=disk.prefix)
        ended = program.run(
            tmp_path, fault="write:augmentation.png=ENOSPC,write:history.csv@3=EROFS"
        )
    assert ended.code == 0, ended.stderr
    warned = "\n".join(line for line in ended.stdout.splitlines() if line.startswith("warning: "))
    assert "the plot augmentation could not be written" in warned
    assert "the history could not be written ([Errno 30] Read-only file system" in warned
    if disk:
        assert "the summaries could not be written" in warned
    sha256 = json.loads((tmp_path / "result.json").read_text())["weights_sha256"]
    assert sha256 == reference.outcome.weights_sha256


def test_a_report_that_cannot_be_written_ends_the_run_and_is_made_by_the_next_start(
    reference, tmp_path
):
    ended = reference.program.run(tmp_path, fault="write:report.html=ENOSPC")
    assert ended.code == 1
    assert "report.html cannot be written (No space left on device)" in ended.stderr
    assert not (tmp_path / "result.json").exists()
    reference.program.finish(tmp_path)
    assert (tmp_path / "report.html").exists()
    assert Outcome.of(tmp_path) == reference.outcome


@pytest.mark.parametrize("place", ["write:config.json", "write:history.csv", "locked"])
def test_a_folder_that_cannot_be_written_from_the_start_is_one_line(reference, tmp_path, place):
    ended = reference.program.run(tmp_path, fault=f"{place}=ENOSPC")
    assert ended.code == 1
    assert ended.stderr.startswith("train.py: error: ")
    assert "No space left on device" in ended.stderr
    assert ended.stderr.count("\n") == 1
