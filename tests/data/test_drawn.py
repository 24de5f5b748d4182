import contextlib
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from lib.data.drawn import draw_cats_and_dogs, fetch
from lib.data.drawn.others import OTHERS
from lib.data.drawn.subjects import draw_image
from lib.errors import UserError


def quiet(_what, _total, _unit):
    return contextlib.nullcontext(lambda _: None)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "small"
    draw_cats_and_dogs(root, quiet, train=4, validation=2)
    return root


def test_the_layout_is_that_of_the_photographs(small):
    assert sorted(contents(small)) == [
        "train/cats/cat.0.jpg",
        "train/cats/cat.1.jpg",
        "train/dogs/dog.0.jpg",
        "train/dogs/dog.1.jpg",
        "validation/cats/cat.4.jpg",
        "validation/dogs/dog.4.jpg",
    ]


def test_every_file_is_a_jpeg_image_in_colour(small):
    for path in small.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")


def test_no_image_is_drawn_twice(small):
    assert len(set(contents(small).values())) == 6


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(small, tmp_path):
    draw_cats_and_dogs(tmp_path / "again", quiet, train=4, validation=2)
    draw_cats_and_dogs(tmp_path / "other", quiet, train=4, validation=2, seed=1)
    assert contents(tmp_path / "again") == contents(small)
    assert not set(contents(tmp_path / "other").values()) & set(contents(small).values())


def test_progress_counts_every_image(tmp_path):
    seen = []

    @contextlib.contextmanager
    def progress(what, total, unit):
        seen.append((what, total, unit))
        yield lambda count: seen.append(count)

    draw_cats_and_dogs(tmp_path / "drawn", progress, train=2, validation=2)
    assert seen == [("drawing", 4, "images"), 1, 1, 1, 1]


@pytest.mark.parametrize("after", [1, 4])
def test_a_drawing_that_is_broken_off_leaves_nothing_behind(tmp_path, after):
    drawn = []

    @contextlib.contextmanager
    def progress(*_):
        def advance(count):
            drawn.append(count)
            if len(drawn) == after:
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        draw_cats_and_dogs(tmp_path / "drawn", progress, train=2, validation=2)
    assert os.listdir(tmp_path) == []


def test_the_folder_appears_only_when_everything_is_in_it(tmp_path):
    there = []

    @contextlib.contextmanager
    def progress(*_):
        yield lambda _: there.append((tmp_path / "drawn").exists())

    draw_cats_and_dogs(tmp_path / "drawn", progress, train=2, validation=2)
    assert there == [False] * 4


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError) as caught:
        fetch(tmp_path / "file", quiet)
    assert str(tmp_path / "file" / "drawn_cats_and_dogs") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_processes_that_need_the_set_at_once_draw_it_once(tmp_path, monkeypatch):
    began, both = threading.Event(), []

    def draw(root, progress):
        began.set()
        assert waiting.wait(10)
        root.mkdir()
        both.append(root)

    @contextlib.contextmanager
    def progress(what, total, unit):
        assert what == "waiting for another process"
        waiting.set()
        yield lambda _: None

    waiting = threading.Event()
    monkeypatch.setattr("lib.data.drawn.dataset.draw_cats_and_dogs", draw)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(fetch, tmp_path, quiet)
        assert began.wait(10)
        second = threads.submit(fetch, tmp_path, progress)
        assert first.result() == second.result() == both[0]
    assert len(both) == 1


def test_the_weights_learned_from_ten_classes_or_more_none_of_them_cat_or_dog():
    assert len(OTHERS) >= 10
    assert not {"cat", "dog"} & set(OTHERS)


@pytest.mark.parametrize("subject", ["cat", "dog", *OTHERS])
def test_every_subject_can_be_drawn_in_many_ways(subject):
    images = [draw_image(subject, str(number)) for number in range(12)]
    assert all(150 <= side <= 240 for image in images for side in image.size)
    assert len({image.tobytes() for image in images}) == 12


@pytest.mark.parametrize(
    ("subject", "digest"),
    [("cat", "bc68233c2466588b"), ("dog", "72ea668258aacbfc")],
)
def test_the_pixels_are_the_ones_that_the_embedded_weights_were_measured_on(subject, digest):
    pixels = b"".join(draw_image(subject, f"0/{number}").tobytes() for number in range(10))
    assert hashlib.sha256(pixels).hexdigest()[:16] == digest
