import contextlib
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config import Config, differences, fold_of
from lib.data.dataset import open_dataset
from lib.data.leaks import find_leaks
from lib.data.splits import folded, split_folder
from lib.errors import UserError
from tests.data.test_splits import SEEDS, fill, folder_of, names, on_disk, per_class


@on_disk
@given(
    counts=st.dictionaries(st.sampled_from("abcd"), st.integers(12, 40), min_size=2, max_size=3),
    count=st.integers(2, 6),
    seed=SEEDS,
    given_parts=st.booleans(),
)
def test_each_training_image_validates_once_and_no_test_image_ever(
    counts, count, seed, given_parts
):
    parts = ("train/", "validation/") if given_parts else ("",)
    with folder_of({part + name: n for part in parts for name, n in counts.items()}) as root:
        whole = split_folder(root, seed)
        folds = [folded(whole, (number, count)) for number in range(1, count + 1)]
    validated = [name for fold in folds for name in names(fold.validation)]
    assert sorted(validated) == sorted(names(whole.train))
    for fold in folds:
        assert fold.test == whole.test
        assert sorted(names(fold.train + fold.validation)) == sorted(names(whole.train))


@on_disk
@given(
    counts=st.dictionaries(st.sampled_from("abcd"), st.integers(12, 40), min_size=2, max_size=4),
    count=st.integers(2, 6),
    seed=SEEDS,
)
def test_folds_differ_by_one_image_of_a_class_and_in_all_at_most(counts, count, seed):
    with folder_of(counts) as root:
        whole = split_folder(root, seed)
    folds = [folded(whole, (number, count)).validation for number in range(1, count + 1)]
    of_class = [per_class(fold) for fold in folds]
    for label in range(len(counts)):
        sizes = [found[label] for found in of_class]
        assert max(sizes) - min(sizes) <= 1
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_a_function_of_seed_and_names(tmp_path):
    counts = {"a": 20, "b": 20}
    here, there = (fill(tmp_path / place, counts) for place in ("x", "y"))
    first, again = (folded(split_folder(root, 3), (2, 4)) for root in (here, there))
    other = folded(split_folder(here, 4), (2, 4))
    assert names(first.validation) == names(again.validation) != names(other.validation)


def test_a_leak_between_folds_is_found(tmp_path):
    whole = split_folder(fill(tmp_path, {"a": 20, "b": 20}), seed=0)
    one, two = folded(whole, (1, 4)).validation[0], folded(whole, (2, 4)).validation[0]
    digests = {image: image.name for image in whole.train} | {two: one.name}
    found = []
    for number in (1, 2, 3, 4):
        fold = folded(whole, (number, 4))
        found.append(find_leaks({"train": fold.train, "validation": fold.validation}, digests))
    pair = {one.name, two.name}
    assert [[set(each) for each in leaks] for leaks in found] == [[pair], [pair], [], []]


def test_a_class_with_fewer_images_than_folds_is_refused(tmp_path):
    whole = split_folder(fill(tmp_path, {"train/a": 9, "train/b": 3, "test/a": 1, "test/b": 1}), 0)
    with pytest.raises(UserError, match=r"'b' has 2 images to train on.*give 2 folds at most"):
        folded(whole, (1, 3))


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "2", "2/", "a/b", "-1/5", "2/5/5", "2.0/5"])
def test_what_names_no_fold_is_refused(text):
    with pytest.raises(UserError, match=r"--fold=.*such as 2/5"):
        fold_of(text)


def test_a_fold_is_its_number_and_how_many_there_are():
    assert (fold_of("2/5"), fold_of(None)) == ((2, 5), None)


def opened(folder, **flags):
    config = Config(dataset=str(folder), image_size=32, **flags)
    return open_dataset(config, lambda *_: contextlib.nullcontext(lambda *_: None))


def test_a_run_of_a_fold_validates_on_training_images_and_leaves_the_validation_set_out(
    two_classes,
):
    whole = opened(two_classes)
    folds = [opened(two_classes, fold=f"{number}/3") for number in (1, 2, 3)]
    validated = [name for fold in folds for name in fold.validation.names]
    assert sorted(validated) == sorted(whole.train.names)
    for number, fold in enumerate(folds, 1):
        assert fold.test.names == whole.test.names
        assert not {*fold.train.names, *fold.validation.names} & {*whole.validation.names}
        assert f"Fold {number} of 3 of the training images validates" in fold.note
    assert len({fold.sha256 for fold in [whole, *folds]}) == 4


def test_limits_count_before_images_are_dealt_to_folds(two_classes):
    first = opened(two_classes, train_limit=12).train.names
    folds = [opened(two_classes, train_limit=12, fold=f"{number}/3") for number in (1, 2, 3)]
    assert sorted(name for fold in folds for name in fold.validation.names) == sorted(first)
    limited = opened(two_classes, eval_limit=2, fold="1/3")
    assert (len(limited.validation), len(limited.test)) == (2, 2)


def test_a_copy_in_another_fold_is_a_leak_of_the_run(two_classes, tmp_path):
    copy = shutil.copytree(two_classes, tmp_path / "copy")
    first = opened(copy, fold="1/3").validation.names[0]
    other = opened(copy, fold="1/3").train.names[0]
    shutil.copy(copy / first, copy / other)
    assert opened(copy, fold="1/3").leaks == ((other, first),)
    assert len(opened(copy).leaks) == 0


def test_another_fold_is_another_run():
    one, two = (Config(fold=fold).to_json() for fold in ("1/3", "2/3"))
    assert differences(one, two) == {"fold": ("1/3", "2/3")}
