import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from lib.data.cache import ImageCache
from lib.system.atomic import is_temporary

SHAPE = (200, 200, 3)
ROW = 200 * 200 * 3  # bytes
A, B, C = "a" * 24, "b" * 24, "c" * 24
FOUR = 4 * (ROW + 128)  # bytes that a set of four images may take with its index


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def filled(folder, name, budget, count=4):
    """A set brought up to date, and open."""
    with ImageCache(folder, name, count, SHAPE, budget).updating(silent) as opened:
        for place in range(count):
            opened.index.notes[place] = place
            if opened.lacks(place):
                opened.put(place, np.full(SHAPE, place, np.uint8))
    return opened


def used(folder, name, ago):
    """Makes a set one that was used so many seconds ago."""
    then = time.time() - ago
    os.utime(folder / f"{name}.pixels", (then, then))


def sets(folder):
    return sorted(path.stem for path in folder.glob("*.pixels"))


def held(opened):
    """The places of the rows that are kept, each of which must have its own pixels."""
    batch, whole = opened.read(np.arange(len(opened.index.checksums)))
    for place in np.flatnonzero(whole):
        assert (batch[place] == place).all()
    return np.flatnonzero(whole).tolist()


def test_a_set_that_fits_is_kept_whole(tmp_path):
    assert held(filled(tmp_path, A, FOUR)) == [0, 1, 2, 3]
    assert held(ImageCache(tmp_path, A, 4, SHAPE, FOUR).open()) == [0, 1, 2, 3]
    assert ImageCache(tmp_path, A, 4, SHAPE, FOUR).peek().notes == [0, 1, 2, 3]


def test_of_a_set_that_does_not_fit_the_first_are_kept(tmp_path):
    assert held(filled(tmp_path, A, FOUR - 1)) == [0, 1, 2]
    assert held(filled(tmp_path, B, 0)) == []


def test_all_sets_together_stay_within_the_budget(tmp_path):
    for name in (A, B, C, A):
        filled(tmp_path, name, 2 * FOUR).close()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * FOUR
    assert sets(tmp_path) == [A, C]


def test_the_set_that_was_not_used_for_longest_goes(tmp_path):
    for name, ago in ((A, 100), (B, 300)):
        filled(tmp_path, name, 2 * FOUR).close()
        used(tmp_path, name, ago)
    assert held(filled(tmp_path, C, 2 * FOUR)) == [0, 1, 2, 3]
    assert sets(tmp_path) == [A, C]
    assert not [path.name for path in tmp_path.iterdir() if B in path.name]


def test_opening_or_reading_a_set_is_using_it(tmp_path, monkeypatch):
    opened = filled(tmp_path, A, 3 * FOUR)
    filled(tmp_path, B, 3 * FOUR).close()
    used(tmp_path, A, 300)
    used(tmp_path, B, 100)
    later = time.monotonic() + 61
    monkeypatch.setattr("time.monotonic", lambda: later)
    opened.read(np.array([0]))
    opened.close()
    filled(tmp_path, C, 2 * FOUR).close()
    assert sets(tmp_path) == [A, C]
    used(tmp_path, A, 300)
    ImageCache(tmp_path, A, 4, SHAPE, 2 * FOUR).open().close()
    used(tmp_path, C, 100)
    filled(tmp_path, B, 2 * FOUR).close()
    assert sets(tmp_path) == [A, B]


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from lib.data.cache import ImageCache
opened = ImageCache(Path(sys.argv[1]), sys.argv[2], 4, (200, 200, 3), 0).open()
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def open_elsewhere(folder, name):
    """Another process that has a set open; it is killed at the end."""
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(folder), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "open\n"
        yield
        process.kill()


def test_a_set_in_use_by_another_process_stays_and_another_one_gets_what_is_left(tmp_path):
    filled(tmp_path, A, 2 * FOUR).close()
    with open_elsewhere(tmp_path, A):
        used(tmp_path, A, 10**6)
        assert held(filled(tmp_path, B, 2 * FOUR - ROW)) == [0, 1, 2]
        assert held(filled(tmp_path, C, FOUR)) == []
        assert sets(tmp_path) == [A, C]
    used(tmp_path, A, 10**6)
    assert held(filled(tmp_path, B, 2 * FOUR - ROW)) == [0, 1, 2, 3]
    assert sets(tmp_path) == [B, C]


def test_a_set_in_use_by_another_process_is_neither_cut_nor_changed(tmp_path):
    filled(tmp_path, A, FOUR).close()
    before = (tmp_path / f"{A}.pixels").read_bytes()
    with open_elsewhere(tmp_path, A):
        cache = ImageCache(tmp_path, A, 4, SHAPE, FOUR)
        with cache.updating(silent) as opened:
            opened.forget(2)
            assert not opened.lacks(2)
        assert held(filled(tmp_path, A, 0)) == [0, 1, 3]
        assert (tmp_path / f"{A}.pixels").read_bytes() == before
    opened.close()
    assert held(filled(tmp_path, A, 0)) == []


def test_sets_as_earlier_versions_kept_them_count_and_go(tmp_path):
    names = [f"{A}.zip", f".{B}.01234567.partial.zip"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(FOUR))
        os.utime(tmp_path / name, (1, 1))
    filled(tmp_path, C, 3 * FOUR).close()
    assert all((tmp_path / name).exists() for name in names)
    filled(tmp_path, C, FOUR).close()
    filled(tmp_path, A, 2 * FOUR).close()
    assert not any((tmp_path / name).exists() for name in names)


def test_files_that_are_not_of_the_cache_stay(tmp_path):
    names = ["notes.txt", "photographs.zip", "mine.pixels", f"{A}.zip.bak"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(FOUR))
        os.utime(tmp_path / name, (1, 1))
    assert held(filled(tmp_path, A, FOUR)) == [0, 1, 2, 3]
    assert all((tmp_path / name).exists() for name in names)


def test_an_update_that_is_broken_off_leaves_what_was_known(tmp_path):
    filled(tmp_path, A, FOUR).close()
    cache = ImageCache(tmp_path, A, 4, SHAPE, FOUR)
    with pytest.raises(KeyboardInterrupt), cache.updating(silent) as opened:
        opened.index.notes[1] = "another"
        opened.put(1, np.full(SHAPE, 77, np.uint8))
        raise KeyboardInterrupt
    found = cache.open()
    assert found.index.notes == [0, 1, 2, 3]
    assert held(found) == [0, 2, 3]  # and never the other pixels of 1


def test_what_a_killed_process_was_writing_goes_at_the_next_update(tmp_path):
    leftover = tmp_path / f".{A}.json.01234567.partial.gz"
    leftover.write_bytes(b"half")
    assert is_temporary(leftover)
    filled(tmp_path, B, FOUR).close()
    assert leftover.exists()  # another process may be writing it
    filled(tmp_path, A, FOUR).close()
    assert not leftover.exists()


def test_a_set_is_read_from_a_cache_that_may_not_be_written(tmp_path, monkeypatch):
    filled(tmp_path, A, FOUR).close()
    real = open

    def refusing(path, mode="r", *args, **kwargs):
        if "+" in mode or "w" in mode:
            raise OSError(30, "Read-only file system")
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refusing)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    cache = ImageCache(tmp_path, A, 4, SHAPE, 0)
    assert cache.is_settled(cache.peek(), [True] * 4)
    assert held(cache.open()) == [0, 1, 2, 3]


def test_a_row_with_a_changed_bit_reads_as_not_kept_and_can_be_mended(tmp_path):
    filled(tmp_path, A, FOUR).close()
    file = tmp_path / f"{A}.pixels"
    content = bytearray(file.read_bytes())
    content[2 * ROW + 5] ^= 1
    file.write_bytes(content)
    opened = ImageCache(tmp_path, A, 4, SHAPE, FOUR).open()
    assert held(opened) == [0, 1, 3]
    opened.repair(2, np.full(SHAPE, 9, np.uint8))  # other pixels are not what was there
    assert held(opened) == [0, 1, 3]
    opened.repair(2, np.full(SHAPE, 2, np.uint8))
    assert held(opened) == [0, 1, 2, 3]
