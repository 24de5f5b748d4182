"""Finds pictures whose content is in more than one split, or in more than one class."""

from collections.abc import Iterable, Mapping, Sequence

from lib.data.listing import Picture


def find_leaks(
    splits: Mapping[str, Sequence[Picture]], digests: Mapping[Picture, str]
) -> list[tuple[str, str]]:
    """Finds pictures that an earlier split holds too, byte for byte.

    Args:
        splits: the split's name -> its pictures, training first.
        digests: each picture's content hash; pictures without one (those left out) are passed over.

    Returns:
        Pairs of names: a picture of an earlier split and its copy in a later one. However often a
        content occurs, each later picture is in one pair, with the first of its kind.
    """
    leaks = []
    first_of: dict[str, Picture] = {}
    for pictures in splits.values():
        known = [picture for picture in pictures if picture in digests]
        leaks += [
            (first_of[digests[picture]].name, picture.name)
            for picture in known
            if digests[picture] in first_of
        ]
        # Only now, so that copies within one split, which leak nothing, do not meet each other.
        for picture in known:
            first_of.setdefault(digests[picture], picture)
    return leaks


def find_conflicts(
    splits: Iterable[Sequence[Picture]], digests: Mapping[Picture, str]
) -> list[tuple[str, str]]:
    """Finds pictures that are in one split twice, byte for byte, and in different classes.

    Args:
        splits: the pictures of each.
        digests: each picture's content hash; pictures without one are passed over.

    Returns:
        Pairs of names. However often a content occurs in a split, each picture whose class is not
        that of the first one is in one pair, with the first.
    """
    conflicts = []
    for pictures in splits:
        first_of: dict[str, Picture] = {}
        for picture in pictures:
            if picture in digests:
                first = first_of.setdefault(digests[picture], picture)
                if first.label != picture.label:
                    conflicts.append((first.name, picture.name))
    return conflicts
