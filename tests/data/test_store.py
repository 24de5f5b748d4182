import contextlib
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data import store as module
from lib.data.decoding import load
from lib.data.listing import ImageFile
from lib.data.store import open_store
from lib.errors import UserError

SIZE = 12
ROOMY, NARROW = 64, 0  # MiB: everything fits, nothing fits


class Recorder:
    """A `Progress` that remembers what it was shown of images, not of waiting for them."""

    def __init__(self):
        self.announced = []
        self.advanced = 0

    @contextlib.contextmanager
    def __call__(self, what, total, unit):
        if unit != "images":
            yield lambda n: None
            return
        self.announced.append((total, unit))
        yield self.advance

    def advance(self, n):
        self.advanced += n


def write_image(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(path, "PNG")


def make_images(folder, count=6):
    """Images in another order than that of their names."""
    folder.mkdir(exist_ok=True)
    images = []
    for i in reversed(range(count)):
        path = folder / f"{i}.png"
        write_image(path, i)
        images.append(ImageFile(path, f"a/{i}.png", 0))
    return images


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "set")


def opened(images, cache, cache_mb=ROOMY, on_bad="stop", size=SIZE):
    """The store, and how many files had to be read to open it."""
    recorder = Recorder()
    store = open_store(images, size, cache, cache_mb, on_bad, recorder)
    assert recorder.advanced == sum(total for total, _ in recorder.announced)
    return store, recorder.advanced


def require_right_pixels(store):
    everything = store.pixels(np.arange(len(store.images)))
    assert everything.dtype == np.uint8
    expected = [load(image.path, store.size) for image in store.images]
    np.testing.assert_array_equal(everything, expected)


def cache_file(cache, kind="pixels"):
    (file,) = (cache / "pictures").glob(f"*.{kind}")
    return file


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """The images of a test are as if they had been there for long."""
    monkeypatch.setattr(module, "_SETTLED_NS", 0)


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_rows_are_the_images_in_the_order_given(images, tmp_path, cache_mb):
    store, _ = opened(images, tmp_path, cache_mb)
    assert store.images == tuple(images)
    require_right_pixels(store)


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_rows_may_repeat_and_come_in_any_order(images, tmp_path, cache_mb):
    store, _ = opened(images, tmp_path, cache_mb)
    rows = np.array([3, 0, 3, 5])
    expected = [load(images[row].path, SIZE) for row in rows]
    np.testing.assert_array_equal(store.pixels(rows), expected)


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_what_a_caller_does_to_its_pixels_does_not_reach_the_store(images, tmp_path, cache_mb):
    store, _ = opened(images, tmp_path, cache_mb)
    store.pixels(np.arange(6))[...] = 0
    require_right_pixels(store)


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_the_second_start_reads_nothing_again(images, tmp_path, cache_mb):
    first, read_first = opened(images, tmp_path, cache_mb)
    second, read_second = opened(images, tmp_path, cache_mb)
    assert (read_first, read_second) == (6, 0)
    assert second.digests == first.digests
    require_right_pixels(second)


def test_the_cache_serves_the_same_files_in_another_order(images, tmp_path):
    opened(images, tmp_path)
    store, read = opened(sorted(images, key=lambda p: p.name), tmp_path)
    assert read == 0
    require_right_pixels(store)


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_only_changed_files_are_read_again(images, tmp_path, cache_mb):
    before, _ = opened(images, tmp_path, cache_mb)
    write_image(images[2].path, seed=99)
    os.utime(images[2].path, ns=(1, 1))
    after, read = opened(images, tmp_path, cache_mb)
    assert read == 1
    assert [a == b for a, b in zip(after.digests, before.digests, strict=True)] == [
        row != 2 for row in range(6)
    ]
    require_right_pixels(after)
    assert opened(images, tmp_path, cache_mb)[1] == 0


def test_another_size_has_a_cache_of_its_own(images, tmp_path):
    opened(images, tmp_path)
    store, _ = opened(images, tmp_path, size=SIZE + 1)
    require_right_pixels(store)
    assert opened(images, tmp_path)[1] == 0
    assert opened(images, tmp_path, size=SIZE + 1)[1] == 0


def taken(cache):
    """The bytes of all files of the cache."""
    return sum(path.stat().st_size for path in (cache / "pictures").iterdir())


def test_a_budget_raised_or_lowered_between_two_starts_takes_effect(images, tmp_path):
    one = 300 * 300 * 3  # bytes; three of them are within a MiB
    for cache_mb, expected_read, cached in ((1, 6, 3), (2, 3, 6), (1, 0, 3), (0, 0, 0), (1, 3, 3)):
        store, read = opened(images, tmp_path, cache_mb, size=300)
        assert (read, store.cached) == (expected_read, cached)
        assert cache_file(tmp_path).stat().st_size == cached * one
        assert taken(tmp_path) <= cache_mb * 2**20 or not cache_mb
        require_right_pixels(store)
        del store  # one that is in use keeps what it has
        assert opened(images, tmp_path, cache_mb, size=300)[1] == 0


def test_of_a_set_too_large_for_the_budget_the_first_by_name_are_kept(images, tmp_path):
    store, _ = opened(images, tmp_path, 1, size=300)
    for image in images:
        image.path.unlink()
    store.pixels(np.array([3, 4, 5]))  # 2.png to 0.png
    with pytest.raises(UserError, match=r"3\.png' can no longer be read"):
        store.pixels(np.array([2]))


def test_no_more_is_kept_than_half_of_the_free_disk(images, tmp_path, monkeypatch):
    nearly_full = SimpleNamespace(free=4 * 300 * 300 * 3)
    monkeypatch.setattr("shutil.disk_usage", lambda path: nearly_full)
    store, _ = opened(images, tmp_path, size=300)
    assert store.cached == 2
    require_right_pixels(store)


PART = st.floats(0, 1, exclude_max=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["pixels", "json.gz"]),
    cut=st.none() | PART,
    changes=st.lists(st.tuples(PART, st.integers(0, 255)), min_size=1, max_size=4),
    cache_mb=st.sampled_from([ROOMY, NARROW]),
)
def test_a_damaged_cache_never_shows(tmp_path, kind, cut, changes, cache_mb):
    images = make_images(tmp_path / "set", 2)
    before, _ = opened(images, tmp_path, cache_mb)
    file = cache_file(tmp_path, kind)
    content = bytearray(file.read_bytes())
    for place, value in changes if content else ():
        content[int(place * len(content))] = value
    if cut is not None:
        del content[int(cut * len(content)) :]
    file.write_bytes(content)
    store, _ = opened(images, tmp_path, cache_mb)
    assert (store.digests, store.skipped) == (before.digests, ())
    require_right_pixels(store)


@pytest.mark.parametrize("kind", ["pixels", "json.gz"])
def test_a_damaged_cache_is_mended(images, tmp_path, kind):
    opened(images, tmp_path)
    file = cache_file(tmp_path, kind)
    whole = file.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    store, read = opened(images, tmp_path)
    assert read == (0 if kind == "pixels" else 6)
    require_right_pixels(store)
    assert opened(images, tmp_path)[1] == 0
    assert cache_file(tmp_path).read_bytes() == store.pixels(np.arange(6))[::-1].tobytes()


def test_nothing_temporary_is_left_in_the_cache(images, tmp_path):
    opened(images, tmp_path)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    name = cache_file(tmp_path).stem
    assert names == [f".{name}.lock", ".lock", f"{name}.json.gz", f"{name}.pixels"]


def test_a_file_removed_between_two_starts_is_named(images, tmp_path):
    opened(images, tmp_path)
    images[1].path.unlink()
    with pytest.raises(UserError, match=r"1 of 6 .*'a/4\.png' \(cannot be read: No such file"):
        opened(images, tmp_path)


def test_a_store_keeps_its_pixels_when_another_start_finds_an_image_changed(images, tmp_path):
    first, _ = opened(images, tmp_path)
    before = first.pixels(np.arange(6))
    write_image(images[2].path, seed=99)
    for read in (1, 0):  # at the second start it is known, though not kept
        second, found = opened(images, tmp_path)
        assert (found, second.cached) == (read, 5)
        require_right_pixels(second)
        np.testing.assert_array_equal(first.pixels(np.arange(6)), before)
    del first, second
    third, read = opened(images, tmp_path)
    assert (read, third.cached) == (1, 6)
    require_right_pixels(third)


@pytest.mark.parametrize("start", ["fresh", "from the cache"])
def test_pixels_do_not_stay_in_the_memory_of_the_process(images, tmp_path, start):
    if start == "from the cache":
        opened(images, tmp_path, size=300)
    tracemalloc.start()
    try:
        store, _ = opened(images, tmp_path, size=300)
        store.pixels(np.arange(6))
        assert tracemalloc.get_traced_memory()[0] < 300 * 300 * 3
    finally:
        tracemalloc.stop()


def test_a_cache_that_is_cut_short_during_the_run_is_made_up_for(images, tmp_path):
    store, _ = opened(images, tmp_path)
    os.truncate(cache_file(tmp_path), 1000)
    require_right_pixels(store)
    assert cache_file(tmp_path).stat().st_size == 6 * SIZE * SIZE * 3


def test_threads_may_ask_for_pixels_at_once(images, tmp_path):
    with_all, _ = opened(images, tmp_path)
    with_none, _ = opened(images, tmp_path / "other", NARROW)
    expected = with_all.pixels(np.arange(6))
    for store in (with_all, with_none):
        with ThreadPoolExecutor(8) as threads:
            for each in threads.map(store.pixels, [np.arange(6)] * 40):
                np.testing.assert_array_equal(each, expected)


def _open_in_child(images, cache, barrier, results):
    module._SETTLED_NS = 0
    barrier.wait()
    store, read = opened(images, cache)
    results.put((read, store.pixels(np.arange(len(images))).tobytes()))


def test_of_two_processes_that_start_at_once_one_reads_the_images(tmp_path):
    images = make_images(tmp_path / "set", 30)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    children = [
        context.Process(target=_open_in_child, args=(images, tmp_path, barrier, results))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    seen = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert sorted(read for read, _ in seen) == [0, 30]
    assert seen[0][1] == seen[1][1]
    store, read = opened(images, tmp_path)
    assert read == 0
    require_right_pixels(store)


KILLED = """
import contextlib, sys
from pathlib import Path
from lib.data.listing import ImageFile
from lib.data.store import open_store

@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None

images = [ImageFile(path, path.name, 0) for path in Path(sys.argv[1]).iterdir()]
open_store(images, 12, Path(sys.argv[2]), 64, "stop", silent)
"""


@pytest.mark.parametrize("place", ["decode@4", "write:*.json.gz"])
@pytest.mark.parametrize("start", ["first", "after a change of all images"])
def test_a_process_that_is_killed_while_it_fills_the_cache_leaves_nothing_wrong(
    images, tmp_path, place, start
):
    if start != "first":
        opened(images, tmp_path)
        for number, image in enumerate(images):
            write_image(image.path, seed=40 + number)
    command = [sys.executable, "-c", KILLED, tmp_path / "set", tmp_path]
    killed = subprocess.run(command, env=os.environ | {"THAW_FAULT": f"{place}=SIGKILL"})
    assert killed.returncode == -9
    store, read = opened(images, tmp_path)
    assert read == 6
    require_right_pixels(store)
    assert opened(images, tmp_path)[1] == 0
    assert not list((tmp_path / "pictures").glob("*.partial*"))


def test_a_cache_that_cannot_be_written_is_a_clear_error(images, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be kept in .*file"):
        opened(images, tmp_path / "file")


BAD = {
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"no image, but a text", "not a JPEG, PNG, GIF, BMP or WebP image"),
}


@pytest.fixture
def with_bad_ones(images, tmp_path):
    whole = images[0].path.read_bytes()
    contents = {name: data for name, (data, _) in BAD.items()} | {"cut.jpg": whole[:-200]}
    bad = []
    for name, data in contents.items():
        (tmp_path / "set" / name).write_bytes(data)
        bad.append(ImageFile(tmp_path / "set" / name, f"a/{name}", 0))
    lost = ImageFile(tmp_path / "set" / "lost.jpg", "a/lost.jpg", 0)
    return [bad[0], *images[:3], bad[1], bad[2], *images[3:], lost]


@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_bad_images_are_left_out_and_listed_with_the_reason(with_bad_ones, tmp_path, cache_mb):
    for _ in ("fresh", "from the cache"):
        store, _ = opened(with_bad_ones, tmp_path, cache_mb, on_bad="skip")
        reasons = dict(store.skipped)
        assert list(reasons) == ["a/empty.jpg", "a/text.jpg", "a/cut.jpg", "a/lost.jpg"]
        for name, (_, reason) in BAD.items():
            assert reasons[f"a/{name}"] == reason
        assert "cut short" in reasons["a/cut.jpg"]
        assert reasons["a/lost.jpg"] == "cannot be read: No such file or directory"
        assert [p for p in with_bad_ones if p.name not in reasons] == list(store.images)
        assert len(store.digests) == len(store.images)
        require_right_pixels(store)


def test_bad_images_stop_everything_in_one_line_that_says_what_to_do(with_bad_ones, tmp_path):
    for _ in ("fresh", "from the cache"):
        with pytest.raises(UserError) as caught:
            opened(with_bad_ones, tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("4 of 10 images cannot be decoded: 'a/empty.jpg' (the file is")
        assert "'a/text.jpg' (not a JPEG" in message
        assert "and 1 more" in message
        assert "--bad_images=skip" in message


def test_verdicts_are_remembered_but_what_could_not_be_read_is_tried_again(with_bad_ones, tmp_path):
    assert opened(with_bad_ones, tmp_path, on_bad="skip")[1] == 10
    written = cache_file(tmp_path, "json.gz").stat()
    assert opened(with_bad_ones, tmp_path, on_bad="skip")[1] == 1
    assert cache_file(tmp_path, "json.gz").stat() == written, (
        "written again though nothing was learnt"
    )
    write_image(with_bad_ones[-1].path, seed=50)
    store, _ = opened(with_bad_ones, tmp_path, on_bad="skip")
    assert "a/lost.jpg" not in dict(store.skipped)
    require_right_pixels(store)


def test_a_mended_file_is_taken_in(with_bad_ones, tmp_path):
    opened(with_bad_ones, tmp_path, on_bad="skip")
    write_image(with_bad_ones[0].path, seed=51)
    store, _ = opened(with_bad_ones, tmp_path, on_bad="skip")
    assert store.images[0] == with_bad_ones[0]
    require_right_pixels(store)


def test_a_set_of_nothing_but_bad_images_is_an_error_even_when_they_may_be_skipped(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 1 images .* repair or remove them$"):
        opened([ImageFile(tmp_path / "1.jpg", "1.jpg", 0)], tmp_path, on_bad="skip")


@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_a_file_that_changes_during_the_run_is_an_error(images, tmp_path, change):
    store, _ = opened(images, tmp_path, NARROW)
    if change == "rewritten":
        write_image(images[1].path, seed=99)
    else:
        images[1].path.unlink()
    store.pixels(np.array([0, 2]))
    with pytest.raises(UserError, match=r"4\.png' (has changed|can no longer be read)"):
        store.pixels(np.array([1]))


def test_equal_files_have_equal_digests(tmp_path):
    first, second, third = make_images(tmp_path / "set", 3)
    Path(second.path).write_bytes(first.path.read_bytes())
    store, _ = opened([first, second, third], tmp_path)
    assert store.digests[0] == store.digests[1] != store.digests[2]


def swapped(one, other):
    """Each of two files under the other's name."""
    third = one.with_name("third")
    one.rename(third)
    other.rename(one)
    third.rename(other)


def rewritten(path, seed):
    """Another image of the same number of bytes in place, its times as they were."""
    before = path.stat()
    noise = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(path, "BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


UNSEEN = {
    "two files swapped": lambda a, b: swapped(a, b),
    "rewritten in place": lambda a, b: rewritten(a, 77),
    "written anew and moved into place": lambda a, b: (
        shutil.copy2(a, b.with_name("new")),
        rewritten(b.with_name("new"), 78),
        b.with_name("new").replace(a),
    ),
    "rewritten by way of a hard link": lambda a, b: (
        os.link(a, b.with_name("link")),
        rewritten(b.with_name("link"), 79),
    ),
    "a symbolic link turned to another file": lambda a, b: (
        a.rename(a.with_name("first")),
        shutil.copy2(b, a.with_name("second")),
        a.symlink_to(a.with_name("second")),
    ),
    "copied over with its times": lambda a, b: shutil.copy2(b, a),
}


@pytest.mark.parametrize("change", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("cache_mb", [ROOMY, NARROW])
def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(tmp_path, change, cache_mb):
    images = make_images(tmp_path / "set", 3)
    for number, image in enumerate(images):
        noise = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(noise).save(image.path, "BMP")
        os.utime(image.path, (1e9, 1e9))
    before = opened(images, tmp_path, cache_mb)[0].digests
    change(images[0].path, images[1].path)
    store, _ = opened(images, tmp_path, cache_mb)
    require_right_pixels(store)
    assert store.digests[0] != before[0]
    expected = [hashlib.sha256(image.path.read_bytes()).hexdigest() for image in images]
    assert list(store.digests) == expected


def test_a_file_changed_a_moment_before_it_was_read_is_read_again(images, tmp_path, monkeypatch):
    # Its times may be the same after another change, as they have a resolution.
    monkeypatch.setattr(module, "_SETTLED_NS", 10**15)
    for _ in range(2):
        assert opened(images, tmp_path)[1] == 6
    monkeypatch.setattr(module, "_SETTLED_NS", 0)
    for expected in (6, 0):
        assert opened(images, tmp_path)[1] == expected


def test_what_has_another_status_but_the_same_content_is_not_decoded_again(
    images, tmp_path, monkeypatch
):
    opened(images, tmp_path)
    for image in images:
        os.link(image.path, f"{image.path}.backup")
    monkeypatch.setattr(module, "decode", lambda data: pytest.fail("it is decoded"))
    store, read = opened(images, tmp_path)
    assert (read, store.cached) == (6, 6)
    monkeypatch.undo()
    require_right_pixels(store)
