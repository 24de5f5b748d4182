from pathlib import Path

from lib.data.leaks import find_conflicts, find_leaks
from lib.data.listing import ImageFile


def splits_of(**contents):
    """Splits in which train="ab" has the images train/0 and train/1 with contents a and b."""
    splits = {
        split: [ImageFile(Path(f"{split}/{i}"), f"{split}/{i}", 0) for i in range(len(letters))]
        for split, letters in contents.items()
    }
    digests = {p: contents[split][i] for split in splits for i, p in enumerate(splits[split])}
    return splits, digests


def test_different_images_leak_nothing():
    assert find_leaks(*splits_of(train="abc", validation="de", test="f")) == []


def test_an_image_in_two_splits_is_named_with_its_copy():
    leaks = find_leaks(*splits_of(train="abc", validation="dc"))
    assert leaks == [("train/2", "validation/1")]


def test_every_pair_of_splits_is_looked_at():
    leaks = find_leaks(*splits_of(train="ab", validation="cb", test="ca"))
    assert leaks == [
        ("train/1", "validation/1"),
        ("validation/0", "test/0"),
        ("train/0", "test/1"),
    ]


def test_copies_within_one_split_are_no_leak():
    assert find_leaks(*splits_of(train="aa", validation="bb")) == []


def test_each_copy_is_named_once_however_many_there_are():
    leaks = find_leaks(*splits_of(train="aaa", validation="aa", test="a"))
    assert leaks == [
        ("train/0", "validation/0"),
        ("train/0", "validation/1"),
        ("train/0", "test/0"),
    ]


def test_images_that_were_left_out_are_passed_over():
    splits, digests = splits_of(train="a", validation="a")
    del digests[splits["train"][0]]
    assert find_leaks(splits, digests) == []


def split_of(*contents):
    """A split in which "a0" is an image of class 0 with content a; named by its position."""
    images = [ImageFile(Path(f"{i}"), f"{i}", int(label)) for i, (_, label) in enumerate(contents)]
    return images, {p: content for p, (content, _) in zip(images, contents, strict=True)}


def test_copies_of_one_class_are_no_conflict():
    images, digests = split_of("a0", "a0", "b1", "b1", "c1")
    assert find_conflicts([images], digests) == []


def test_copies_in_different_classes_are_named_together():
    images, digests = split_of("a0", "b0", "c1", "b1")
    assert find_conflicts([images], digests) == [("1", "3")]


def test_each_copy_in_another_class_than_the_first_is_named_once():
    images, digests = split_of("a0", "a0", "a1", "a2", "a0")
    assert find_conflicts([images], digests) == [("0", "2"), ("0", "3")]


def test_every_split_is_looked_at_by_itself():
    splits, digests = splits_of(train="ab", validation="b")
    other = ImageFile(Path("v"), "v", 1)
    digests[other] = "b"
    assert find_conflicts(splits.values(), digests) == []
    splits["validation"].append(other)
    assert find_conflicts(splits.values(), digests) == [("validation/0", "v")]


def test_a_conflict_with_an_image_that_was_left_out_is_none():
    images, digests = split_of("a0", "a1")
    del digests[images[0]]
    assert find_conflicts([images], digests) == []
