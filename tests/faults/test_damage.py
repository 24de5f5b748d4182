"""Checkpoints that are not as they were written are set aside, and never trusted."""

import hashlib
import shutil

import pytest

from tests.faults.program import Outcome


@pytest.fixture(scope="module")
def stopped(reference, tmp_path_factory):
    """The folder of a run killed at step 8, with checkpoints of the steps 0, 2, 3, 4, 6 and 8."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    program = reference.program.with_flags("--keep_checkpoints=9")
    assert program.run(workdir, fault="checkpoints:manifest@6").code == -9
    return workdir


def shard(workdir, step):
    return workdir / f"checkpoints/ckpt-{step}.data-00000-of-00001"


def index(workdir, step):
    return workdir / f"checkpoints/ckpt-{step}.index"


def contents(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_it_goes_on_from_the_newest_that_is_whole_to_the_same_bits(reference, stopped, tmp_path):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    whole = shard(workdir, 8).read_bytes()
    shard(workdir, 8).write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(shard(workdir, 6).read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shard(workdir, 6).write_bytes(flipped)
    shard(workdir, 4).unlink()
    index(workdir, 3).write_bytes(b"")
    (workdir / "checkpoints/checkpoint").write_text('model_checkpoint_path: "ckpt-77"\n')

    said = reference.program.with_flags("--keep_checkpoints=9").finish(workdir)

    reasons = {
        8: f"ckpt-8.data-00000-of-00001 has {len(whole) // 2:,} bytes that are not those written",
        6: f"ckpt-6.data-00000-of-00001 has {len(whole):,} bytes that are not those written",
        4: "ckpt-4.data-00000-of-00001 is missing",
        3: "ckpt-3.index has 0 bytes that are not those written",
    }
    for step, reason in reasons.items():
        name = f"damaged-1-ckpt-{step}"
        assert f"ckpt-{step} cannot be used ({reason}): set aside as {name}" in said
        assert any(workdir.glob(f"checkpoints/{name}.*"))
    damaged = workdir / "checkpoints/damaged-1-ckpt-8.data-00000-of-00001"
    assert damaged.read_bytes() == whole[: len(whole) // 2]
    assert "Resuming at step 2" in said
    assert Outcome.of(workdir) == reference.outcome


def test_without_a_whole_one_it_stops_and_touches_nothing(reference, stopped, tmp_path):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    for path in workdir.glob("checkpoints/*.index"):
        path.write_bytes(b"")
    before = contents(workdir)
    ended = reference.program.with_flags("--keep_checkpoints=9").run(workdir)
    assert ended.code == 1
    assert ended.stderr == (
        f"train.py: error: no checkpoint in {workdir}/checkpoints can be used; of the newest,"
        " ckpt-8.index has 0 bytes that are not those written; restore the folder from a copy, or"
        " start in another --workdir\n"
    )
    assert contents(workdir) == before
