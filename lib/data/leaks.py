"""Finds images whose content is in more than one split, or in more than one class."""

from collections.abc import Iterable, Mapping, Sequence

from lib.data.listing import ImageFile


def find_leaks(
    splits: Mapping[str, Sequence[ImageFile]], digests: Mapping[ImageFile, str]
) -> list[tuple[str, str]]:
    """Finds images that an earlier split holds too, byte for byte.

    Args:
        splits: the split's name -> its images, training first.
        digests: each image's content hash; images without one (those left out) are passed over.

    Returns:
        Pairs of names: an image of an earlier split and its copy in a later one. However often a
        content occurs, each later image is in one pair, with the first of its kind.
    """
    leaks = []
    first_of: dict[str, ImageFile] = {}
    for images in splits.values():
        known = [image for image in images if image in digests]
        leaks += [
            (first_of[digests[image]].name, image.name)
            for image in known
            if digests[image] in first_of
        ]
        # Only now, so that copies within one split, which leak nothing, do not meet each other.
        for image in known:
            first_of.setdefault(digests[image], image)
    return leaks


def find_conflicts(
    splits: Iterable[Sequence[ImageFile]], digests: Mapping[ImageFile, str]
) -> list[tuple[str, str]]:
    """Finds images that are in one split twice, byte for byte, and in different classes.

    Args:
        splits: the images of each.
        digests: each image's content hash; images without one are passed over.

    Returns:
        Pairs of names. However often a content occurs in a split, each image whose class is not
        that of the first one is in one pair, with the first.
    """
    conflicts = []
    for images in splits:
        first_of: dict[str, ImageFile] = {}
        for image in images:
            if image in digests:
                first = first_of.setdefault(digests[image], image)
                if first.label != image.label:
                    conflicts.append((first.name, image.name))
    return conflicts
