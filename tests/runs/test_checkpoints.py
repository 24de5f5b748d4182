import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.errors import UserError
from lib.runs import checkpoints as module
from lib.runs.checkpoints import (
    CachedCheckpoint,
    Checkpoints,
    load_checkpoint,
    names_in,
    step_of,
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, *steps, keep=3):
    """Saves checkpoints whose one variable holds the step."""
    variable = tf.Variable(0)
    for step in steps:
        variable.assign(step)
        Checkpoints(folder, keep).save(CachedCheckpoint(value=variable), step)


def value(path):
    variable = tf.Variable(-1)
    load_checkpoint(path, value=variable)
    return int(variable)


def newest(folder):
    return Checkpoints(folder, 3).newest_good()


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kept_steps(folder):
    return sorted(step_of(path.with_suffix("")) for path in folder.glob("ckpt-*.index"))


def test_a_folder_that_is_not_there_holds_none(folder):
    assert newest(folder) is None


def test_who_only_reads_gets_the_checkpoint_that_replaced_the_one_just_looked_at(
    folder, monkeypatch
):
    save(folder, 1, keep=1)
    digest = module.sha256_of

    def after_the_next_epoch(file):
        monkeypatch.setattr(module, "sha256_of", digest)
        save(folder, 2, keep=1)
        return digest(file)

    monkeypatch.setattr(module, "sha256_of", after_the_next_epoch)
    assert step_of(Checkpoints(folder, 1).newest_good(set_aside=False)) == 2


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(folder):
    folder.write_text("in the way")
    with pytest.raises(UserError, match=r"checkpoints cannot be read \(Not a directory\): make"):
        Checkpoints(folder, 3).newest_good()


def test_the_newest_is_found_and_holds_what_was_saved(folder):
    save(folder, 5, 50, 100)
    assert step_of(newest(folder)) == 100
    assert value(newest(folder)) == 100


# Signs of TensorFlow's patterns, what only looks like one, and a byte that is not UTF-8.
ODD = ["exp [1]", "[", "]", "a\\b", "a*", "what?", "{a,b}", "sp ace", "100%", "ünï", "caf\udce9"]


@pytest.mark.parametrize("name", ODD)
def test_checkpoints_may_be_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    save(folder, 1, 2, 3, 4)
    assert value(newest(folder)) == 4
    assert kept_steps(folder) == [2, 3, 4]
    assert value(folder / "ckpt-2") == 2
    assert names_in(folder / "ckpt-2", "value") == {".ATTRIBUTES"}


def test_a_folder_is_not_taken_for_the_pattern_of_another(tmp_path):
    save(tmp_path / "run1", 5)
    save(tmp_path / "run[1]", 6)
    save(tmp_path / "run?", 7)
    assert [value(newest(tmp_path / name)) for name in ("run1", "run[1]", "run?")] == [5, 6, 7]


def test_the_newest_is_that_of_the_largest_number_not_of_the_last_name(folder):
    save(folder, 9, 10)
    assert step_of(newest(folder)) == 10


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept_with_all_their_files(folder, keep):
    save(folder, 10, 20, 30, 40, keep=keep)
    expected = [10, 20, 30, 40][-keep:]
    assert kept_steps(folder) == expected
    files = {path.name for path in folder.iterdir()} - {"checkpoint"}
    endings = ("index", "data-00000-of-00001", "json")
    assert files == {f"ckpt-{step}.{ending}" for step in expected for ending in endings}


def test_rotation_goes_on_over_restarts_in_one_object_and_in_many(folder):
    many = Checkpoints(folder, 2)
    variable = tf.Variable(0)
    for step in (1, 2, 3):
        many.save(CachedCheckpoint(value=variable), step)
    save(folder, 4, keep=2)
    assert kept_steps(folder) == [3, 4]


def test_saving_a_step_again_replaces_it(folder):
    save(folder, 10, 20)
    variable = tf.Variable(77)
    Checkpoints(folder, 3).save(CachedCheckpoint(value=variable), 20)
    assert kept_steps(folder) == [10, 20]
    assert value(newest(folder)) == 77


def truncated(folder):
    file = folder / "ckpt-30.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:-1])


def flipped(folder):
    file = folder / "ckpt-30.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def without_shard(folder):
    (folder / "ckpt-30.data-00000-of-00001").unlink()


def empty_index(folder):
    (folder / "ckpt-30.index").write_bytes(b"")


def garbage_manifest(folder):
    (folder / "ckpt-30.json").write_bytes(b"\x00\xff{")


def empty_manifest(folder):
    (folder / "ckpt-30.json").write_text("{}")


def list_as_manifest(folder):
    (folder / "ckpt-30.json").write_text("[]")


DAMAGES = [
    *(truncated, flipped, without_shard, empty_index),
    *(garbage_manifest, empty_manifest, list_as_manifest),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_set_aside_and_the_one_before_it_taken(folder, damage, capsys):
    save(folder, 10, 20, 30)
    damage(folder)
    left = {path.name: path.read_bytes() for path in folder.glob("ckpt-30.*")}
    assert value(newest(folder)) == 20
    aside = {f"damaged-1-{name}": content for name, content in left.items()}
    assert aside.items() <= listing(folder).items()
    assert not list(folder.glob("ckpt-30.*"))
    said = capsys.readouterr().out
    assert "ckpt-30 cannot be used" in said and "set aside as damaged-1-ckpt-30" in said


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_goes_on_after_a_damaged_one_to_the_same_step(folder, damage):
    save(folder, 10, 20, 30)
    damage(folder)
    newest(folder)
    save(folder, 30, 40)
    assert kept_steps(folder) == [20, 30, 40]
    assert value(newest(folder)) == 40
    assert list(folder.glob("damaged-1-*"))


def test_the_same_step_damaged_twice_is_set_aside_under_two_names(folder):
    save(folder, 10, 30)
    flipped(folder)
    newest(folder)
    save(folder, 30)
    truncated(folder)
    assert value(newest(folder)) == 10
    assert (folder / "damaged-1-ckpt-30.index").exists()
    assert (folder / "damaged-2-ckpt-30.index").exists()


def test_several_damaged_ones_are_all_set_aside(folder):
    save(folder, 10, 20, 30)
    flipped(folder)
    (folder / "ckpt-20.index").unlink()
    assert value(newest(folder)) == 10
    assert kept_steps(folder) == [10]


def test_a_good_newest_one_hides_damage_below_it(folder):
    save(folder, 10, 20, 30)
    (folder / "ckpt-20.index").unlink()
    before = listing(folder)
    assert value(newest(folder)) == 30
    assert listing(folder) == before


def test_if_all_are_damaged_the_error_says_so_and_nothing_is_touched(folder):
    save(folder, 10, 20, 30)
    for index in folder.glob("*.index"):
        index.write_bytes(b"")
    before = listing(folder)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be used; of the newest, ckpt-30"):
        newest(folder)
    assert listing(folder) == before


def test_what_a_kill_left_behind_without_a_manifest_does_not_count(folder):
    save(folder, 10, 20)
    (folder / "ckpt-20.json").unlink()
    assert value(newest(folder)) == 10
    save(folder, 20, 30)
    assert kept_steps(folder) == [10, 20, 30]


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00garbage", b'model_checkpoint_path: "no"'])
def test_the_managers_own_file_may_be_gone_or_garbage(folder, content):
    save(folder, 10, 20, 30)
    state = folder / "checkpoint"
    state.unlink()
    if content is not None:
        state.write_bytes(content)
    assert value(newest(folder)) == 30
    save(folder, 40)
    assert kept_steps(folder) == [20, 30, 40]
    assert value(newest(folder)) == 40


def test_a_folder_that_was_moved_rotates_in_its_new_place_alone(folder, tmp_path):
    save(folder, 10, 20, 30)
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    save(moved, 40)
    assert kept_steps(moved) == [20, 30, 40]
    assert kept_steps(folder) == [10, 20, 30]


def test_the_manifest_holds_the_digest_of_every_file(folder):
    save(folder, 10)
    manifest = json.loads((folder / "ckpt-10.json").read_text())
    assert set(manifest["sha256"]) == {"ckpt-10.index", "ckpt-10.data-00000-of-00001"}


def test_a_checkpoint_that_cannot_be_written_is_an_error_that_keeps_those_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="checkpoint of step 5 cannot be written") as error:
        save(tmp_path / "file" / "checkpoints", 5)
    assert "\n" not in str(error.value)


def test_while_a_step_is_written_anew_its_old_manifest_does_not_vouch_for_it(folder):
    save(folder, 10, 20)

    class Killed(tf.train.Checkpoint):
        def _write(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Checkpoints(folder, 3).save(Killed(value=tf.Variable(0)), 20)
    assert value(newest(folder)) == 10


def test_saving_gives_up_later_checkpoints_of_another_course(folder):
    best = Checkpoints(folder, keep=1)
    best.save(CachedCheckpoint(value=tf.Variable(1.0)), 500)
    best.save(CachedCheckpoint(value=tf.Variable(2.0)), 300)
    assert best.newest_good() == folder / "ckpt-300"


def test_what_is_saved_is_found_once_and_read_each_time(folder, monkeypatch):
    variable = tf.Variable(1)
    checkpoint, checkpoints = CachedCheckpoint(value=variable), Checkpoints(folder, 3)
    looked, look = [], type(checkpoint._saver)._gather_serialized_tensors

    def looking(saver):
        looked.append(saver)
        return look(saver)

    monkeypatch.setattr(type(checkpoint._saver), "_gather_serialized_tensors", looking)
    paths = []
    for step in (1, 2):
        variable.assign(step)
        paths.append(checkpoints.save(checkpoint, step))
    assert looked == [checkpoint._saver]
    assert [value(path) for path in paths] == [1, 2]
    assert tf.train.latest_checkpoint(folder) == str(paths[-1])


def test_a_cached_checkpoint_holds_what_tensorflows_own_would(network, tmp_path):
    """Anyone can read it: the variables have the same keys, and the same values."""
    objects = {"model": network.model, "optimizer": keras.optimizers.Adam()}
    objects["optimizer"].build(network.model.weights)
    cached = Checkpoints(tmp_path / "cached", 3).save(CachedCheckpoint(**objects), 1)
    own = tf.train.CheckpointManager(tf.train.Checkpoint(**objects), str(tmp_path / "own"), None)
    read = [tf.train.load_checkpoint(str(path)) for path in (cached, own.save(1))]
    keys = [sorted(reader.get_variable_to_shape_map()) for reader in read]
    assert keys[0] == keys[1] and len(keys[0]) > 300
    for key in keys[0]:
        assert np.array_equal(*(reader.get_tensor(key) for reader in read)), key


def test_a_cached_checkpoint_can_be_written_without_a_manager(tmp_path):
    path = CachedCheckpoint(value=tf.Variable(7)).write(str(tmp_path / "alone"))
    read = tf.Variable(0)
    tf.train.Checkpoint(value=read).read(path).assert_consumed()
    assert int(read) == 7


def test_what_is_more_than_a_variable_is_not_written_in_part(tmp_path):
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)
    with pytest.raises(TypeError, match="expected a variable"):
        CachedCheckpoint(table=table).write(str(tmp_path / "table"))


def test_a_checkpoint_that_lacks_an_object_is_not_loaded(folder):
    save(folder, 1)
    with pytest.raises(AssertionError):
        load_checkpoint(newest(folder), other=tf.Variable(0))


@pytest.mark.parametrize("keep", [1, 3])
def test_what_replaces_the_only_one_is_on_the_disk_before_it_counts(folder, monkeypatch, keep):
    synced, unsafe = set(), []
    sync, replace = os.fsync, os.replace

    def fsync(number):
        synced.add(os.fstat(number).st_ino)
        sync(number)

    def rename(source, target):
        if str(target).endswith(".json"):  # the manifest, by which the checkpoint counts
            files = [os.stat(source), *(path.stat() for path in folder.glob("ckpt-9.[id]*"))]
            unsafe.extend(file for file in files if file.st_ino not in synced)
            assert len(files) == 3
        replace(source, target)

    save(folder, 5, keep=keep)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    save(folder, 9, keep=keep)
    # Where there are others, a power cut may cost the newest.
    assert len(unsafe) == (0 if keep == 1 else 2)
