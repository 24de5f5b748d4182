import contextlib
import os
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.splits import limited, list_folder, list_set, split, split_folder
from lib.errors import UserError

SIZES = st.dictionaries(st.sampled_from("abcd"), st.integers(3, 30), min_size=2, max_size=3)
SEEDS = st.integers(0, 2**32)

on_disk = settings(max_examples=25, deadline=None)


def fill(root, counts):
    """Makes counts[folder] files in each folder; splitting never looks into them."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / folder / f"{i}.jpg").touch()
    return root


@contextlib.contextmanager
def folder_of(counts):
    """A folder for one example of a property test, which cannot have `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        yield fill(Path(name), counts)


def names(images):
    return [image.name for image in images]


def per_class(images):
    return Counter(image.label for image in images)


def require_disjoint_and_complete(splits, root):
    everything = names(splits.train + splits.validation + splits.test)
    assert len(everything) == len(set(everything))
    assert sorted(everything) == sorted(p.relative_to(root).as_posix() for p in root.rglob("*.jpg"))


@on_disk
@given(train=SIZES, validation=st.data(), seed=SEEDS)
def test_test_and_validation_never_overlap_and_nothing_is_lost(train, validation, seed):
    counts = {f"train/{name}": count for name, count in train.items()}
    counts |= {f"validation/{name}": validation.draw(st.integers(2, 40)) for name in train}
    with folder_of(counts) as root:
        splits = split_folder(root, seed)
        require_disjoint_and_complete(splits, root)
        assert not set(splits.test) & set(splits.validation)
        assert {p.name.split("/")[0] for p in splits.train} == {"train"}
        assert {p.name.split("/")[0] for p in splits.validation + splits.test} == {"validation"}


@on_disk
@given(counts=SIZES, seed=SEEDS)
def test_class_folders_alone_are_split_without_overlap_or_loss(counts, seed):
    with folder_of(counts) as root:
        require_disjoint_and_complete(split_folder(root, seed), root)


@on_disk
@given(counts=SIZES, seed=SEEDS)
def test_class_folders_alone_give_each_split_its_part_of_each_class(counts, seed):
    with folder_of(counts) as root:
        splits = split_folder(root, seed)
    for label, name in enumerate(splits.classes):
        train, validation, test = (
            per_class(part)[label] for part in (splits.train, splits.validation, splits.test)
        )
        assert min(train, validation, test) >= 1
        assert abs(validation + test - counts[name] / 4) <= 1.25
        assert abs(test - (validation + test) / 5) <= 0.8


@on_disk
@given(counts=SIZES, seed=SEEDS)
def test_a_fifth_of_each_validation_class_becomes_the_test_set(counts, seed):
    both = {f"{part}/{name}": n for part in ("train", "validation") for name, n in counts.items()}
    with folder_of(both) as root:
        splits = split_folder(root, seed)
    for label, name in enumerate(splits.classes):
        assert per_class(splits.test)[label] == max(1, round(counts[name] / 5))


def test_the_well_known_data_set_gives_2000_800_and_200_images(tmp_path):
    halves = {
        "train/cats": 1000,
        "train/dogs": 1000,
        "validation/cats": 500,
        "validation/dogs": 500,
    }
    splits = split_folder(fill(tmp_path, halves), seed=0)
    assert splits.classes == ("cats", "dogs")
    assert per_class(splits.train) == {0: 1000, 1: 1000}
    assert per_class(splits.validation) == {0: 400, 1: 400}
    assert per_class(splits.test) == {0: 100, 1: 100}


def test_a_given_test_set_is_taken_as_it_is(tmp_path):
    parts = ("train", "validation", "test")
    splits = split_folder(fill(tmp_path, {f"{p}/{c}": 5 for p in parts for c in "ab"}), seed=0)
    for part in parts:
        assert {name.split("/")[0] for name in names(getattr(splits, part))} == {part}
        assert len(getattr(splits, part)) == 10


def test_the_names_of_the_parts_may_be_capitalised(tmp_path):
    parts = ("Train", "VALIDATION")
    splits = split_folder(fill(tmp_path, {f"{p}/{c}": 5 for p in parts for c in "ab"}), seed=0)
    assert splits.classes == ("a", "b")


def test_a_class_with_a_single_validation_image_keeps_it_there(tmp_path):
    counts = {"train/a": 2, "train/b": 2, "validation/a": 1, "validation/b": 2}
    splits = split_folder(fill(tmp_path, counts), seed=0)
    assert per_class(splits.validation) == {0: 1, 1: 1}
    assert per_class(splits.test) == {1: 1}


@on_disk
@given(counts=SIZES, seed=SEEDS, chance=st.randoms())
def test_the_order_in_which_the_file_system_lists_files_does_not_matter(counts, seed, chance):
    scandir = os.scandir

    class Shuffled:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = list(entries)
            chance.shuffle(self.entries)

        def __enter__(self):
            return self.entries

        def __exit__(self, *error):
            pass

    with folder_of(counts) as root:
        expected = split_folder(root, seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "scandir", Shuffled)
            assert split_folder(root, seed) == expected


def test_the_split_does_not_depend_on_where_the_folder_lies(tmp_path):
    counts = {"a": 20, "b": 30}
    here, there = (split_folder(fill(tmp_path / name, counts), seed=3) for name in ("x", "y/z"))
    for part in ("train", "validation", "test"):
        assert names(getattr(here, part)) == names(getattr(there, part))


def test_the_split_is_the_same_today_as_it_was_when_this_was_written(tmp_path):
    splits = split_folder(fill(tmp_path, {"a": 8, "b": 8}), seed=0)
    assert names(splits.test) == ["a/0.jpg", "b/6.jpg"]
    assert names(splits.validation) == ["a/7.jpg", "b/4.jpg"]


def test_another_seed_chooses_other_images_in_another_order(tmp_path):
    root = fill(tmp_path, {"a": 40, "b": 40})
    first, second = split_folder(root, 0), split_folder(root, 1)
    for part in ("train", "validation", "test"):
        assert set(getattr(first, part)) != set(getattr(second, part))


def test_another_seed_orders_given_parts_anew(tmp_path):
    counts = {f"{p}/{c}": 20 for p in ("train", "validation", "test") for c in "ab"}
    root = fill(tmp_path, counts)
    first, second = split_folder(root, 0), split_folder(root, 1)
    assert set(first.train) == set(second.train)
    assert first.train != second.train


def test_adding_an_image_moves_at_most_a_few_others(tmp_path):
    root = fill(tmp_path, {"a": 100, "b": 100})
    before = split_folder(root, 0)
    (root / "a" / "new.jpg").touch()
    after = split_folder(root, 0)
    assert len(set(before.test) ^ set(after.test)) <= 3


@on_disk
@given(counts=SIZES, seed=SEEDS, limit=st.integers(1, 60))
def test_the_first_images_have_the_proportions_of_the_whole(counts, seed, limit):
    with folder_of(counts) as root:
        splits = split_folder(root, seed)
    whole, first = per_class(splits.train), per_class(splits.train[:limit])
    for label, count in whole.items():
        expected = count * min(1, limit / len(splits.train))
        assert abs(first[label] - expected) <= len(whole) / 2 + 0.5


def test_limits_keep_the_first_images(tmp_path):
    splits = split_folder(fill(tmp_path, {"a": 40, "b": 40}), seed=0)
    short = limited(splits, train_limit=8, eval_limit=2)
    assert short.train == splits.train[:8]
    assert short.validation == splits.validation[:2]
    assert short.test == splits.test[:2]
    assert per_class(short.train) == {0: 4, 1: 4}


def test_no_limit_and_limits_beyond_the_end_keep_everything(tmp_path):
    splits = split_folder(fill(tmp_path, {"a": 4, "b": 4}), seed=0)
    assert limited(splits, None, None) == splits
    assert limited(splits, 1000, 1000) == splits


@on_disk
@given(
    counts=SIZES, seed=SEEDS, given_parts=st.booleans(), chance=st.randoms(use_true_random=False)
)
def test_leaving_out_bad_images_splits_as_if_they_had_never_been_there(
    counts, seed, given_parts, chance
):
    parts = ("train/", "validation/") if given_parts else ("",)
    with folder_of({part + name: n for part in parts for name, n in counts.items()}) as root:
        listing = list_folder(root)
        bad = []
        for by_class in listing.images.values():
            for images in by_class.values():
                bad += chance.sample(images, chance.randint(0, len(images) - 3))
        found = split(listing, seed, bad)
        for image in bad:
            image.path.unlink()
        assert found == split_folder(root, seed)


def test_one_bad_image_in_a_class_of_ten_is_never_in_the_way(tmp_path):
    listing = list_folder(fill(tmp_path, {"a": 10, "b": 10}))
    for seed in range(200):
        splits = split(listing, seed, bad=[listing.images["train"]["a"][seed % 10]])
        sizes = [len(getattr(splits, part)) for part in ("train", "validation", "test")]
        assert sizes == [15, 2, 2]
        assert set(per_class(splits.test)) == set(per_class(splits.validation)) == {0, 1}


def test_of_two_images_whose_names_look_alike_only_the_bad_one_is_left_out(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4})
    for form in ("NFC", "NFD"):
        (tmp_path / "a" / unicodedata.normalize(form, "é.jpg")).touch()
    listing = list_folder(tmp_path)
    alike = [p for p in listing.images["train"]["a"] if p.name == "a/é.jpg"]
    assert len(alike) == 2 and alike[0].path != alike[1].path
    for bad, good in (alike, alike[::-1]):
        splits = split(listing, 0, [bad])
        kept = splits.train + splits.validation + splits.test
        assert good in kept and bad not in kept and len(kept) == 9


def test_leaving_out_the_last_image_of_a_class_is_an_error(tmp_path):
    counts = {"train/a": 2, "train/b": 1, "validation/a": 2, "validation/b": 2}
    listing = list_folder(fill(tmp_path, counts))
    with pytest.raises(UserError, match="no image of class 'b' is left in the train set"):
        split(listing, 0, listing.images["train"]["b"])


def test_too_few_good_images_are_an_error_that_says_so(tmp_path):
    listing = list_folder(fill(tmp_path, {"a": 9, "b": 4}))
    with pytest.raises(UserError, match="class 'b' has 2 images that can be decoded but needs"):
        split(listing, 0, listing.images["train"]["b"][:2])


@pytest.mark.parametrize(
    ("there", "missing"),
    [("train", "validation"), ("validation", "train"), ("test", "train")],
)
def test_a_part_without_its_counterpart_is_an_error(tmp_path, there, missing):
    fill(tmp_path, {f"{there}/a": 3, f"{there}/b": 3})
    with pytest.raises(UserError, match=f"holds {there}/ but no {missing}/"):
        split_folder(tmp_path, seed=0)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_parts_with_different_classes_are_an_error_that_names_them(tmp_path, part):
    counts = {f"{p}/{c}": 3 for p in ("train", "validation", "test") for c in "ab"}
    del counts[f"{part}/b"]
    fill(tmp_path, counts | {f"{part}/c": 3})
    expected = f"train/ and {part}/ must .*only in train/: 'b'; only in {part}/: 'c'"
    with pytest.raises(UserError, match=expected):
        split_folder(tmp_path, seed=0)


def test_a_class_too_small_to_be_split_is_an_error_with_the_number_needed(tmp_path):
    with pytest.raises(UserError, match="class 'b' has 2 images but needs at least 3"):
        split_folder(fill(tmp_path, {"a": 9, "b": 2}), seed=0)


def test_three_images_a_class_are_enough(tmp_path):
    splits = split_folder(fill(tmp_path, {"a": 3, "b": 3}), seed=0)
    for part in ("train", "validation", "test"):
        assert per_class(getattr(splits, part)) == {0: 1, 1: 1}


def test_a_validation_set_that_can_spare_nothing_is_an_error(tmp_path):
    fill(tmp_path, {"train/a": 3, "train/b": 3, "validation/a": 1, "validation/b": 1})
    with pytest.raises(UserError, match="none can be spared for the test set"):
        split_folder(tmp_path, seed=0)


def test_another_set_is_listed_with_the_labels_of_the_model(tmp_path):
    fill(tmp_path, {"cats": 4, "dogs": 2})
    listed = list_set(tmp_path, ("cats", "dogs"))
    assert per_class(listed) == {0: 4, 1: 2}
    assert per_class(listed[:3]) == {0: 2, 1: 1}


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (["cats", "dogs", "owls"], "only in '.*': 'owls'"),
        (["cats", "dots"], "only in the trained model: 'dogs'; only in '.*': 'dots'"),
    ],
)
def test_another_set_must_have_exactly_the_classes_of_the_model(tmp_path, folders, named):
    fill(tmp_path, dict.fromkeys(folders, 2))
    with pytest.raises(UserError, match=named):
        list_set(tmp_path, ("cats", "dogs"))


def test_a_run_begun_with_numbers_in_the_order_of_words_keeps_its_labels(tmp_path):
    listed = list_set(fill(tmp_path, {"1": 1, "2": 2, "10": 3}), ("1", "10", "2"))
    assert per_class(listed) == {0: 1, 1: 3, 2: 2}
    assert {p.name.split("/")[0]: p.label for p in listed} == {"1": 0, "10": 1, "2": 2}


def test_the_class_folders_of_another_set_may_be_nested_once(tmp_path):
    fill(tmp_path / "test_set", {"test_set/cats": 4, "test_set/dogs": 2})
    listed = list_set(tmp_path / "test_set", ("cats", "dogs"))
    assert per_class(listed) == {0: 4, 1: 2}
