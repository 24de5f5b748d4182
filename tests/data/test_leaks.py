from pathlib import Path

from lib.data.leaks import find_conflicts, find_leaks
from lib.data.listing import Picture


def splits_of(**contents):
    """Splits in which train="ab" has the pictures train/0 and train/1 with contents a and b."""
    splits = {
        split: [Picture(Path(f"{split}/{i}"), f"{split}/{i}", 0) for i in range(len(letters))]
        for split, letters in contents.items()
    }
    digests = {p: contents[split][i] for split in splits for i, p in enumerate(splits[split])}
    return splits, digests


def test_different_pictures_leak_nothing():
    assert find_leaks(*splits_of(train="abc", validation="de", test="f")) == []


def test_a_picture_in_two_splits_is_named_with_its_copy():
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


def test_pictures_that_were_left_out_are_passed_over():
    splits, digests = splits_of(train="a", validation="a")
    del digests[splits["train"][0]]
    assert find_leaks(splits, digests) == []


def split_of(*contents):
    """A split in which "a0" is a picture of class 0 with content a; named by its position."""
    pictures = [Picture(Path(f"{i}"), f"{i}", int(label)) for i, (_, label) in enumerate(contents)]
    return pictures, {p: content for p, (content, _) in zip(pictures, contents, strict=True)}


def test_copies_of_one_class_are_no_conflict():
    pictures, digests = split_of("a0", "a0", "b1", "b1", "c1")
    assert find_conflicts([pictures], digests) == []


def test_copies_in_different_classes_are_named_together():
    pictures, digests = split_of("a0", "b0", "c1", "b1")
    assert find_conflicts([pictures], digests) == [("1", "3")]


def test_each_copy_in_another_class_than_the_first_is_named_once():
    pictures, digests = split_of("a0", "a0", "a1", "a2", "a0")
    assert find_conflicts([pictures], digests) == [("0", "2"), ("0", "3")]


def test_every_split_is_looked_at_by_itself():
    splits, digests = splits_of(train="ab", validation="b")
    other = Picture(Path("v"), "v", 1)
    digests[other] = "b"
    assert find_conflicts(splits.values(), digests) == []
    splits["validation"].append(other)
    assert find_conflicts(splits.values(), digests) == [("validation/0", "v")]


def test_a_conflict_with_a_picture_that_was_left_out_is_none():
    pictures, digests = split_of("a0", "a1")
    del digests[pictures[0]]
    assert find_conflicts([pictures], digests) == []
