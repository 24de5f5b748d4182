"""Checkpoints that are not as they were written are set aside, and never trusted."""

import hashlib
import shutil

import pytest
import tensorflow as tf

from lib.errors import UserError
from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
from lib.system import fault_points
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
        6: f"ckpt-6.data-00000-of-00001 has {len(flipped):,} bytes that are not those written",
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


def test_without_the_best_checkpoint_there_is_no_result(reference, tmp_path):
    workdir = shutil.copytree(reference.folder, tmp_path / "run")
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "best")
    ended = reference.program.run(workdir)
    assert ended.code == 1
    assert f"{workdir}/best does not hold the weights of step" in ended.stderr
    assert not (workdir / "result.json").exists()


@pytest.fixture
def two_checkpoints(tmp_path):
    """A folder with checkpoints of a variable that is 1.0 at step 1 and 2.0 at step 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    variable = tf.Variable(0.0)
    for step in (1, 2):
        variable.assign(step)
        checkpoints.save(CachedCheckpoint(value=variable), step)
    return checkpoints, variable


def value(checkpoints):
    restored = tf.Variable(0.0)
    tf.train.Checkpoint(value=restored).read(str(checkpoints.newest_good()))
    return float(restored)


@pytest.mark.parametrize("place", ["checkpoints:begin", "checkpoints:data", "write:ckpt-*.json"])
def test_a_checkpoint_that_cannot_be_replaced_is_never_half_of_another(
    two_checkpoints, monkeypatch, tmp_path, place
):
    checkpoints, variable = two_checkpoints
    variable.assign(3.0)
    monkeypatch.setattr(fault_points, "_FAULTS", fault_points._armed(f"{place}=ENOSPC"))
    monkeypatch.setattr(fault_points, "_WATCHED", True)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoints.save(CachedCheckpoint(value=variable), 2)
    # Once its files are replaced, the one before is the newest; what was written is gone again.
    expected = 2.0 if place == "checkpoints:begin" else 1.0
    assert value(checkpoints) == expected
    assert len(list(tmp_path.glob("*/ckpt-*"))) == 3 * expected


def test_the_managers_own_file_is_not_needed(two_checkpoints, tmp_path):
    checkpoints, variable = two_checkpoints
    (tmp_path / "checkpoints/checkpoint").unlink()
    assert value(checkpoints) == 2.0
    variable.assign(4.0)
    checkpoints.save(CachedCheckpoint(value=variable), 4)
    assert value(checkpoints) == 4.0
    assert not list(tmp_path.glob("checkpoints/ckpt-1.*"))


def test_what_kills_left_goes_with_the_next_checkpoint(two_checkpoints, tmp_path):
    checkpoints, variable = two_checkpoints
    half, whole = tmp_path / "checkpoints/ckpt-1_temp", tmp_path / "checkpoints/ckpt-2.index"
    half.mkdir()
    (half / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    checkpoints.save(CachedCheckpoint(value=variable), 3)
    assert whole.exists()
    assert not half.exists()
