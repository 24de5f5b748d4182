import os

import pytest

from lib.system.atomic import fitting, is_temporary, replacing


def test_a_new_file_is_there_when_the_block_has_ended_and_not_before(tmp_path):
    target = tmp_path / "new folder" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"


def test_the_old_file_stays_until_the_block_has_ended(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def test_the_temporary_file_keeps_the_suffix_and_is_hidden_beside_the_target(tmp_path):
    with replacing(tmp_path / "curves.png") as temporary:
        temporary.write_bytes(b"")
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        assert temporary.parent == tmp_path


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    target = tmp_path / "file.txt"
    with replacing(target) as one, replacing(target) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert target.read_text() == "one"  # the outer block ended last


def test_what_is_written_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, os.replace

    def synced(number):
        order.append(("fsync", os.fstat(number).st_ino))
        sync(number)

    def replaced(source, target):
        order.append(("replace", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
    inode = (tmp_path / "file.txt").stat().st_ino
    assert order == [("fsync", inode), ("replace", inode)]


@pytest.mark.parametrize("letter", ["x", "é", "写"])
def test_a_file_of_the_longest_name_can_be_replaced(tmp_path, letter):
    name = fitting(letter * 255, ".png")
    assert 253 <= len(os.fsencode(name)) <= 255
    for text in ("old", "new"):
        with replacing(tmp_path / name) as temporary:
            temporary.write_text(text)
            assert is_temporary(temporary)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "new")]


def test_a_name_that_fits_is_left_as_it_is():
    odd = os.fsdecode(b"caf\xe9")
    assert fitting(odd, ".png") == f"{odd}.png"
    assert fitting("x" * 251, ".png") == "x" * 251 + ".png"
    assert fitting("x" * 252, ".png") == "x" * 251 + ".png"
