import contextlib
import multiprocessing
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.atomic import replacing
from lib.data.listing import Picture
from lib.data.pictures import load
from lib.data.store import open_store
from lib.errors import UserError

SIZE = 12
ROOMY, NARROW = 64, 0  # MiB: everything fits, nothing fits


class Recorder:
    """A `Progress` that remembers what it was told."""

    def __init__(self):
        self.announced = []
        self.advanced = 0

    @contextlib.contextmanager
    def __call__(self, what, total, unit):
        self.announced.append((total, unit))
        yield self.advance

    def advance(self, n):
        self.advanced += n


def write_picture(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(path, "PNG")


def make_pictures(folder, count=6):
    """Pictures in another order than that of their names."""
    folder.mkdir(exist_ok=True)
    pictures = []
    for i in reversed(range(count)):
        path = folder / f"{i}.png"
        write_picture(path, i)
        pictures.append(Picture(path, f"a/{i}.png", 0))
    return pictures


@pytest.fixture
def pictures(tmp_path):
    return make_pictures(tmp_path / "set")


def opened(pictures, cache, memory_mb=ROOMY, on_bad="stop", size=SIZE):
    """The store, and how many files had to be read to open it."""
    recorder = Recorder()
    store = open_store(pictures, size, cache, memory_mb, on_bad, recorder)
    assert recorder.advanced == sum(total for total, _ in recorder.announced)
    return store, recorder.advanced


def require_right_pixels(store):
    everything = store.pixels(np.arange(len(store.pictures)))
    assert everything.dtype == np.uint8
    expected = [load(picture.path, store.size) for picture in store.pictures]
    np.testing.assert_array_equal(everything, expected)


def cache_file(cache):
    (file,) = (cache / "pictures").iterdir()
    return file


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_rows_are_the_pictures_in_the_order_given(pictures, tmp_path, memory_mb):
    store, _ = opened(pictures, tmp_path, memory_mb)
    assert store.pictures == tuple(pictures)
    require_right_pixels(store)


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_rows_may_repeat_and_come_in_any_order(pictures, tmp_path, memory_mb):
    store, _ = opened(pictures, tmp_path, memory_mb)
    rows = np.array([3, 0, 3, 5])
    expected = [load(pictures[row].path, SIZE) for row in rows]
    np.testing.assert_array_equal(store.pixels(rows), expected)


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_what_a_caller_does_to_its_pixels_does_not_reach_the_store(pictures, tmp_path, memory_mb):
    store, _ = opened(pictures, tmp_path, memory_mb)
    store.pixels(np.arange(6))[...] = 0
    require_right_pixels(store)


def test_the_budget_is_counted_in_mebibytes_of_pixels(pictures, tmp_path):
    for size, kept in ((241, True), (242, False)):  # 6 * 241 * 241 * 3 < 2**20 < 6 * 242 * 242 * 3
        opened(pictures, tmp_path / str(size), memory_mb=1, size=size)
        length = cache_file(tmp_path / str(size)).stat().st_size
        assert (length > 6 * size * size * 3) == kept


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_the_second_start_reads_nothing_again(pictures, tmp_path, memory_mb):
    first, read_first = opened(pictures, tmp_path, memory_mb)
    second, read_second = opened(pictures, tmp_path, memory_mb)
    assert (read_first, read_second) == (6, 0)
    assert second.digests == first.digests
    require_right_pixels(second)


def test_the_cache_serves_the_same_files_in_another_order(pictures, tmp_path):
    opened(pictures, tmp_path)
    store, read = opened(sorted(pictures, key=lambda p: p.name), tmp_path)
    assert read == 0
    require_right_pixels(store)


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_only_changed_files_are_read_again(pictures, tmp_path, memory_mb):
    before, _ = opened(pictures, tmp_path, memory_mb)
    write_picture(pictures[2].path, seed=99)
    os.utime(pictures[2].path, ns=(1, 1))
    after, read = opened(pictures, tmp_path, memory_mb)
    assert read == 1
    assert [a == b for a, b in zip(after.digests, before.digests, strict=True)] == [
        row != 2 for row in range(6)
    ]
    require_right_pixels(after)
    assert opened(pictures, tmp_path, memory_mb)[1] == 0


def test_another_size_has_a_cache_of_its_own(pictures, tmp_path):
    opened(pictures, tmp_path)
    store, _ = opened(pictures, tmp_path, size=SIZE + 1)
    require_right_pixels(store)
    assert opened(pictures, tmp_path)[1] == 0
    assert opened(pictures, tmp_path, size=SIZE + 1)[1] == 0


def test_a_budget_raised_or_lowered_between_two_starts_is_heeded(pictures, tmp_path):
    for memory_mb, expected in ((NARROW, 6), (ROOMY, 6), (NARROW, 0), (ROOMY, 0)):
        store, read = opened(pictures, tmp_path, memory_mb)
        assert read == expected
        require_right_pixels(store)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), memory_mb=st.sampled_from([ROOMY, NARROW]))
def test_a_damaged_cache_never_shows(tmp_path, data, memory_mb):
    pictures = make_pictures(tmp_path / "set", 2)
    before, _ = opened(pictures, tmp_path, memory_mb)
    file = cache_file(tmp_path)
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans(), "cut short"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    store, _ = opened(pictures, tmp_path, memory_mb)
    assert (store.digests, store.skipped) == (before.digests, ())
    require_right_pixels(store)


def test_a_damaged_cache_is_made_anew(pictures, tmp_path):
    opened(pictures, tmp_path)
    file = cache_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # among the pixels
    file.write_bytes(content)
    assert opened(pictures, tmp_path)[1] == 6
    assert opened(pictures, tmp_path)[1] == 0


def test_nothing_temporary_is_left_in_the_cache(pictures, tmp_path):
    opened(pictures, tmp_path)
    assert [path.suffix for path in (tmp_path / "pictures").iterdir()] == [".zip"]


def test_a_file_removed_between_two_starts_is_named(pictures, tmp_path):
    opened(pictures, tmp_path)
    pictures[1].path.unlink()
    with pytest.raises(UserError, match=r"1 of 6 .*'a/4\.png' \(cannot be read: No such file"):
        opened(pictures, tmp_path)


def test_another_process_in_the_middle_of_writing_is_not_disturbed(pictures, tmp_path):
    opened(pictures, tmp_path)
    file = cache_file(tmp_path)
    content = file.read_bytes()
    file.unlink()
    with replacing(file) as half_written:
        half_written.write_bytes(content[:100])
        opened(pictures, tmp_path)
        with open(half_written, "ab") as rest:
            rest.write(content[100:])
    assert opened(pictures, tmp_path)[1] == 0


def test_a_store_keeps_its_pixels_when_another_process_replaces_the_cache(pictures, tmp_path):
    store, _ = opened(pictures, tmp_path)
    before = store.pixels(np.arange(6))
    with replacing(cache_file(tmp_path)) as other:
        other.write_bytes(b"of another version")
    np.testing.assert_array_equal(store.pixels(np.arange(6)), before)


@pytest.mark.parametrize("start", ["fresh", "from the cache"])
def test_pixels_do_not_stay_in_the_memory_of_the_process(pictures, tmp_path, start):
    if start == "from the cache":
        opened(pictures, tmp_path, size=300)
    tracemalloc.start()
    try:
        store, _ = opened(pictures, tmp_path, size=300)
        store.pixels(np.arange(6))
        assert tracemalloc.get_traced_memory()[0] < 300 * 300 * 3
    finally:
        tracemalloc.stop()


def test_a_cache_that_is_cut_short_during_the_run_is_an_error(pictures, tmp_path):
    store, _ = opened(pictures, tmp_path)
    os.truncate(cache_file(tmp_path), 1000)
    store.pixels(np.array([5]))
    with pytest.raises(UserError, match=r"pictures' were cut short; start the run again"):
        store.pixels(np.array([0]))


def _open_in_child(pictures, cache, barrier, results):
    barrier.wait()
    store, _ = opened(pictures, cache)
    results.put(store.pixels(np.arange(len(pictures))).tobytes())


def test_two_processes_may_build_the_same_cache_at_once(tmp_path):
    pictures = make_pictures(tmp_path / "set", 30)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    children = [
        context.Process(target=_open_in_child, args=(pictures, tmp_path, barrier, results))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    seen = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert seen[0] == seen[1]
    store, read = opened(pictures, tmp_path)
    assert read == 0
    require_right_pixels(store)


def test_a_cache_that_cannot_be_written_is_a_clear_error(pictures, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be kept in .*file"):
        opened(pictures, tmp_path / "file")


BAD = {
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"no picture, but a text", "not a JPEG, PNG, GIF, BMP or WebP picture"),
}


@pytest.fixture
def with_bad_ones(pictures, tmp_path):
    whole = pictures[0].path.read_bytes()
    contents = {name: data for name, (data, _) in BAD.items()} | {"cut.jpg": whole[:-200]}
    bad = []
    for name, data in contents.items():
        (tmp_path / "set" / name).write_bytes(data)
        bad.append(Picture(tmp_path / "set" / name, f"a/{name}", 0))
    lost = Picture(tmp_path / "set" / "lost.jpg", "a/lost.jpg", 0)
    return [bad[0], *pictures[:3], bad[1], bad[2], *pictures[3:], lost]


@pytest.mark.parametrize("memory_mb", [ROOMY, NARROW])
def test_bad_pictures_are_left_out_and_listed_with_the_reason(with_bad_ones, tmp_path, memory_mb):
    for _ in ("fresh", "from the cache"):
        store, _ = opened(with_bad_ones, tmp_path, memory_mb, on_bad="skip")
        reasons = dict(store.skipped)
        assert list(reasons) == ["a/empty.jpg", "a/text.jpg", "a/cut.jpg", "a/lost.jpg"]
        for name, (_, reason) in BAD.items():
            assert reasons[f"a/{name}"] == reason
        assert "cut short" in reasons["a/cut.jpg"]
        assert reasons["a/lost.jpg"] == "cannot be read: No such file or directory"
        assert [p for p in with_bad_ones if p.name not in reasons] == list(store.pictures)
        assert len(store.digests) == len(store.pictures)
        require_right_pixels(store)


def test_bad_pictures_stop_everything_in_one_line_that_says_what_to_do(with_bad_ones, tmp_path):
    for _ in ("fresh", "from the cache"):
        with pytest.raises(UserError) as caught:
            opened(with_bad_ones, tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("4 of 10 pictures cannot be decoded: 'a/empty.jpg' (the file is")
        assert "'a/text.jpg' (not a JPEG" in message
        assert "and 1 more" in message
        assert "--bad_images=skip" in message


def test_verdicts_are_remembered_but_what_could_not_be_read_is_tried_again(with_bad_ones, tmp_path):
    assert opened(with_bad_ones, tmp_path, on_bad="skip")[1] == 10
    written = cache_file(tmp_path).stat()
    assert opened(with_bad_ones, tmp_path, on_bad="skip")[1] == 1
    assert cache_file(tmp_path).stat() == written, "written again though nothing was learnt"
    write_picture(with_bad_ones[-1].path, seed=50)
    store, _ = opened(with_bad_ones, tmp_path, on_bad="skip")
    assert "a/lost.jpg" not in dict(store.skipped)
    require_right_pixels(store)


def test_a_mended_file_is_taken_in(with_bad_ones, tmp_path):
    opened(with_bad_ones, tmp_path, on_bad="skip")
    write_picture(with_bad_ones[0].path, seed=51)
    store, _ = opened(with_bad_ones, tmp_path, on_bad="skip")
    assert store.pictures[0] == with_bad_ones[0]
    require_right_pixels(store)


def test_a_set_of_nothing_but_bad_pictures_is_an_error_even_when_they_may_be_skipped(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 1 pictures .* repair or remove them$"):
        opened([Picture(tmp_path / "1.jpg", "1.jpg", 0)], tmp_path, on_bad="skip")


@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_a_file_that_changes_during_the_run_is_an_error(pictures, tmp_path, change):
    store, _ = opened(pictures, tmp_path, NARROW)
    if change == "rewritten":
        write_picture(pictures[1].path, seed=99)
    else:
        pictures[1].path.unlink()
    store.pixels(np.array([0, 2]))
    with pytest.raises(UserError, match=r"4\.png' (has changed|can no longer be read)"):
        store.pixels(np.array([1]))


def test_equal_files_have_equal_digests(tmp_path):
    first, second, third = make_pictures(tmp_path / "set", 3)
    Path(second.path).write_bytes(first.path.read_bytes())
    store, _ = opened([first, second, third], tmp_path)
    assert store.digests[0] == store.digests[1] != store.digests[2]
