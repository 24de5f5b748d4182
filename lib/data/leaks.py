"""Which pictures are, by their content, in more than one split."""

from collections.abc import Mapping, Sequence

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
