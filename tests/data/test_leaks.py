from pathlib import Path

from lib.data.leaks import find_leaks
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
