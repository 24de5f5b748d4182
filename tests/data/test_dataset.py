import contextlib
import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from PIL import Image

from lib.config import Config
from lib.data import dataset as module
from lib.data.dataset import open_dataset, open_test_set, require_outside, resized
from lib.errors import UserError


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def opened(folder, **changes):
    config = dataclasses.replace(Config(dataset=str(folder), image_size=32), **changes)
    return open_dataset(config, silent)


PARTS = ("train", "validation", "test")


@pytest.fixture
def own(two_classes, tmp_path):
    """A copy of the images, to be changed."""
    return shutil.copytree(two_classes, tmp_path / "data")


def test_the_splits_hold_every_image_once(two_classes):
    found = opened(two_classes)
    assert [len(getattr(found, part)) for part in PARTS] == [22, 16, 4]
    names = [name for part in PARTS for name in getattr(found, part).names]
    files = [path.relative_to(two_classes).as_posix() for path in two_classes.rglob("*.png")]
    assert sorted(names) == sorted(files)


@pytest.mark.parametrize("cache_mb", [0, 1024])
def test_each_position_has_the_name_the_class_and_the_pixels_of_one_image(two_classes, cache_mb):
    found = opened(two_classes, cache_mb=cache_mb)
    assert found.classes == ("ants", "bees")
    for part in PARTS:
        subset = getattr(found, part)
        assert subset.classes == found.classes and subset.labels.dtype == np.int32
        for position in (0, len(subset) - 1):
            name = subset.names[position]
            assert found.classes[subset.labels[position]] == name.split("/")[-2]
            with Image.open(two_classes / name) as image:
                expected = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
            pixels = subset.pixels(np.array([position]))
            assert pixels.shape == (1, 32, 32, 3) and pixels.dtype == np.uint8
            assert np.abs(pixels[0].astype(int) - np.asarray(expected)).mean() < 20


def test_pixels_come_in_the_order_in_which_they_are_asked_for(two_classes):
    subset = opened(two_classes).train
    some = np.array([3, 0, 3, 7])
    whole = subset.pixels(np.arange(len(subset)))
    np.testing.assert_array_equal(subset.pixels(some), whole[some])


def test_limits_keep_the_first_of_each_split(two_classes):
    whole, few = opened(two_classes), opened(two_classes, train_limit=6, eval_limit=3)
    assert few.train.names == whole.train.names[:6]
    assert few.validation.names == whole.validation.names[:3]
    assert few.test.names == whole.test.names[:3]


def test_the_same_data_have_the_same_digest(two_classes, own):
    assert opened(own).sha256 == opened(two_classes).sha256


@pytest.mark.parametrize("change", ["another seed", "fewer", "a name", "a pixel", "one more"])
def test_other_data_have_another_digest(two_classes, own, change):
    before = opened(two_classes).sha256
    image = own / "train" / "ants" / "0.png"
    if change == "a name":
        image.rename(image.with_name("zero.png"))
    elif change == "a pixel":
        with Image.open(image) as opened_image:
            opened_image.putpixel((0, 0), (1, 2, 3))
            opened_image.save(image)
    elif change == "one more":
        Image.new("RGB", (40, 40)).save(image.with_name("more.png"))
    seed, limit = int(change == "another seed"), 5 if change == "fewer" else None
    assert opened(own, seed=seed, train_limit=limit).sha256 != before


def test_each_image_is_listed_with_its_split_and_the_digest_of_its_file(two_classes):
    found = opened(two_classes)
    for part, name, digest in found.listed:
        assert hashlib.sha256((two_classes / name).read_bytes()).hexdigest() == digest
        assert name in getattr(found, part).names
    assert len({name for _, name, _ in found.listed}) == len(found.listed) == 42


def test_bad_images_stop_or_are_left_out_with_the_reason(own):
    (own / "train" / "ants" / "bad.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"train/ants/bad.jpg"):
        opened(own)
    found = opened(own, bad_images="skip")
    assert [name for name, _ in found.skipped] == ["train/ants/bad.jpg"]
    assert len(found.train) == 22 and "train/ants/bad.jpg" not in found.train.names


def test_bad_images_are_left_out_of_each_split_and_the_others_are_as_they_were(own):
    before = opened(own)
    bad = ["train/ants/bad.jpg", "train/bees/bad.jpg", "validation/bees/bad.jpg"]
    for name in bad:
        (own / name).write_text("no image")
    found = opened(own, bad_images="skip")
    assert sorted(name for name, _ in found.skipped) == bad
    for part in ("train", "validation", "test"):
        assert len(getattr(found, part)) == len(getattr(before, part))
        assert not set(bad) & set(getattr(found, part).names)


@pytest.mark.parametrize("seed", range(20))
def test_one_bad_image_in_a_class_of_ten_never_refuses_the_rest(draw_images, tmp_path, seed):
    root = draw_images(tmp_path / "data", {"ants": 10, "bees": 10})
    (root / "ants" / f"{seed % 10}.png").write_text("no image")
    found = opened(root, bad_images="skip", seed=seed)
    (root / "ants" / f"{seed % 10}.png").unlink()
    assert found.sha256 == opened(root, seed=seed).sha256
    assert [name for name, _ in found.skipped] == [f"ants/{seed % 10}.png"]


def test_bad_images_among_the_first_are_replaced_and_no_others_are_read(
    draw_images, tmp_path, monkeypatch
):
    root = draw_images(tmp_path / "data", {"ants": 40, "bees": 40})
    few = opened(root, train_limit=8, eval_limit=2)
    bad = [name for name in few.train.names if name.startswith("ants")]
    for name in bad:
        (root / name).write_text("no image")
    read = set()
    open_store = module.open_store

    def watched(images, *rest):
        read.update(image.name for image in images)
        return open_store(images, *rest)

    monkeypatch.setattr(module, "open_store", watched)
    found = opened(root, train_limit=8, eval_limit=2, bad_images="skip")
    assert len(found.train) == 8 and np.bincount(found.train.labels).tolist() == [4, 4]
    assert not set(found.train.names) & set(bad)
    assert sorted(name for name, _ in found.skipped) == sorted(bad)
    assert len(found.validation) == len(found.test) == 2
    assert len(read) <= 8 + 2 + 2 + 2 * len(bad)
    again = opened(root, train_limit=8, eval_limit=2, bad_images="skip")
    assert (again.sha256, again.skipped) == (found.sha256, found.skipped)


def test_a_class_of_bad_images_alone_is_an_error_that_names_it(own):
    for image in (own / "train" / "bees").iterdir():
        image.write_text("no image")
    with pytest.raises(UserError, match="no image of class 'bees' is left in the train set"):
        opened(own, bad_images="skip")


def test_nothing_but_bad_images_is_an_error(own):
    for image in own.rglob("*.png"):
        image.write_text("no image")
    with pytest.raises(UserError, match=r"42 of 42 images cannot be decoded"):
        opened(own, bad_images="skip")


def test_the_same_image_in_two_classes_of_a_split_is_a_conflict(own):
    shutil.copy(own / "train" / "ants" / "1.png", own / "train" / "bees" / "copy.png")
    shutil.copy(own / "train" / "ants" / "2.png", own / "train" / "ants" / "copy.png")
    found = opened(own)
    assert [set(pair) for pair in found.conflicts] == [{"train/ants/1.png", "train/bees/copy.png"}]
    assert found.leaks == ()


def test_how_the_folder_was_read_can_be_said(own):
    assert opened(own).note == ""
    (own / "validation").rename(own / "dev")
    assert opened(own).note == "Taken for training: train/, for validation: dev/"


def test_folders_of_systems_change_nothing(own):
    before = opened(own).sha256
    for place in (own, own / "train", own / "train" / "ants"):
        (place / "@eaDir").mkdir()
        shutil.copy(own / "train" / "bees" / "0.png", place / "@eaDir" / "thumb.png")
    assert opened(own).sha256 == before


@pytest.mark.parametrize("workdir", ["", "run", "train/run", "train/ants/deep/er"])
@pytest.mark.parametrize("link", ["data", "workdir", None])
def test_a_run_inside_of_its_data_set_is_refused_and_not_made(own, tmp_path, workdir, link):
    (tmp_path / "link").symlink_to(own)
    config = Config(
        dataset=str(tmp_path / "link" if link == "data" else own),
        workdir=str((tmp_path / "link" if link == "workdir" else own) / workdir),
    )
    before = sorted(own.rglob("*"))
    with pytest.raises(UserError, match="is inside of the data set") as error:
        require_outside(config)
    assert "\n" not in str(error.value)
    assert sorted(own.rglob("*")) == before


@pytest.mark.parametrize("workdir", ["datas", "data-run", "data/../run", "."])
def test_a_run_beside_or_above_its_data_set_is_fine(own, tmp_path, monkeypatch, workdir):
    monkeypatch.chdir(tmp_path)
    require_outside(Config(dataset=str(own), workdir=workdir))


@pytest.mark.parametrize(
    ("dataset", "inside"),
    [("cats_and_dogs", "cats_and_dogs_filtered"), ("drawn", "drawn_cats_and_dogs")],
)
def test_a_run_inside_of_a_data_set_still_to_be_made_is_refused(tmp_path, dataset, inside):
    config = Config(dataset=dataset, data_dir=str(tmp_path))
    require_outside(dataclasses.replace(config, workdir=str(tmp_path / "run")))
    with pytest.raises(UserError, match=f"--data_dir={tmp_path}"):
        require_outside(dataclasses.replace(config, workdir=str(tmp_path / inside / "run")))
    assert list(tmp_path.iterdir()) == []


def test_the_same_image_in_two_splits_is_a_leak(own):
    shutil.copy(own / "train" / "ants" / "1.png", own / "validation" / "bees" / "copy.png")
    ((one, other),) = opened(own).leaks
    assert {one, other} == {"train/ants/1.png", "validation/bees/copy.png"}


def test_the_drawn_data_set_is_drawn_once_into_the_data_folder(two_classes, tmp_path, monkeypatch):
    drawn = []

    def draw(root, progress):
        drawn.append(root)
        shutil.copytree(two_classes, root)

    monkeypatch.setattr("lib.data.drawn.dataset.draw_cats_and_dogs", draw)
    for _ in range(2):
        assert len(opened("drawn", data_dir=str(tmp_path)).train) == 22
    assert drawn == [tmp_path / "drawn_cats_and_dogs"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, module.cats_and_dogs.SOURCES), ("http://mirror/x.zip", ("http://mirror/x.zip",))],
)
def test_cats_and_dogs_come_from_their_sources_or_the_mirror(
    two_classes, tmp_path, monkeypatch, url, expected
):
    asked = []

    def fetch(data_dir, urls, progress):
        asked.append((data_dir, tuple(urls)))
        return two_classes

    monkeypatch.setattr(module.cats_and_dogs, "fetch", fetch)
    opened("cats_and_dogs", data_dir=str(tmp_path), dataset_url=url)
    assert asked == [(tmp_path, expected)]


def test_another_test_set_has_the_classes_of_the_run(two_classes):
    config = Config(image_size=32)
    found = open_test_set(two_classes / "validation", ["ants", "bees"], config, silent)
    assert len(found) == 20 and sorted(found.labels.tolist()) == [0] * 10 + [1] * 10
    with pytest.raises(UserError, match="must have the same classes"):
        open_test_set(two_classes / "validation", ["ants", "wasps"], config, silent)


def test_a_subset_can_be_had_at_another_size_with_all_else_as_it_is(two_classes):
    subset = opened(two_classes).test
    larger = resized(subset, Config(image_size=48), silent)
    assert (larger.names, larger.classes) == (subset.names, subset.classes)
    np.testing.assert_array_equal(larger.labels, subset.labels)
    assert larger.pixels(np.arange(4)).shape == (4, 48, 48, 3)
