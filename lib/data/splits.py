"""Splits images into training, validation and test set, each in a fixed order.

The choice is a function of (seed, file names) alone: each class is ranked by a hash of the seed and
the image's name, and the first of the ranking are held back. So it is the same after any restart
and on any machine, and no image is ever in two splits.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.config import setting
from lib.data.layout import PARTS, Layout, class_folders, find_layout
from lib.data.listing import ImageFile, list_classes
from lib.errors import UserError

# Of class folders alone this part of each class is held back from training ...
HELD_BACK = 1 / 4
# ... and this part of what is held back, or of a given validation set, becomes the test set.
TEST = 1 / 5
# With a test set but no validation set, this part of each training class becomes the latter: as
# much as of class folders alone.
VALIDATION = 1 / 5


@dataclass(frozen=True)
class Listing:
    """Every image of a data set, not split yet where its folders do not say how.

    Attributes:
        layout: how the folder is laid out.
        images: part -> class name -> images; the same classes in every part.
    """

    layout: Layout
    images: Mapping[str, Mapping[str, tuple[ImageFile, ...]]]


@dataclass(frozen=True)
class Splits:
    """The three disjoint sets of a run.

    Each is in an order that mixes the classes evenly, so that the first N images have the
    proportions of the whole.

    Attributes:
        classes: class names; an image's label is an index into them.
        train: what the weights are fitted to.
        validation: what decides which checkpoint is the best.
        test: looked at once, at the end.
    """

    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    validation: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]


def list_folder(root: Path) -> Listing:
    """Lists a folder of images, by class and, where there are folders for them, by part.

    Args:
        root: either holds folders for training, validation and optionally test, with the same class
            folders in each, or class folders alone; see `lib.data.layout`.

    Raises:
        UserError: the folder is not laid out like this.
    """
    layout = find_layout(root)
    images = {
        part: list_classes(folder, root, layout.left_aside) for part, folder in layout.parts.items()
    }
    for part, found in images.items():
        names = [f"{layout.parts[each].relative_to(root).as_posix()}/" for each in ("train", part)]
        _require_same_classes(names[0], images["train"], names[1], found)
    return Listing(layout, images)


def split(listing: Listing, seed: int, bad: Collection[ImageFile] = ()) -> Splits:
    """Splits the images of a data set for training, validation and test.

    What the folders do not say is taken by rank from each class: with class folders alone (or a
    training set alone) a quarter is held back, of which a fifth is for the test; with training and
    test a fifth of the training set is held back for validation, as nothing may be chosen by a
    given test set; with training and validation a fifth of the latter is for the test. Each split
    gets at least one image of a class, but test sets cut from a given validation set only of
    classes that have two.

    Args:
        listing: of the data set.
        seed: another seed makes another choice, and another order.
        bad: images to leave out, such as those that cannot be decoded.

    Returns:
        Disjoint splits that together hold every other image: those that the data set would have
        without the bad ones.

    Raises:
        UserError: a class has too few images.
    """
    left_out = frozenset(bad)
    ranked = {}
    for part, by_class in listing.images.items():
        ranked[part] = {}
        for name, images in by_class.items():
            sound = [image for image in images if image not in left_out]
            if not sound:
                raise UserError(
                    f"no image of class '{name}' is left in the {part} set once the bad ones are"
                    " left out; add good ones"
                )
            ranked[part][name] = _ranked(sound, seed)

    if "validation" not in ranked:
        for_test = "test" not in ranked
        share, needed = (HELD_BACK, 2) if for_test else (VALIDATION, 1)
        held_back = {}
        for name, images in ranked["train"].items():
            cut = max(needed, round(len(images) * share))
            if len(images) <= cut:
                uses = "training, validation and test" if for_test else "training and validation"
                sound = " that can be decoded" if left_out else ""
                raise UserError(
                    f"class '{name}' has {_count(images)}{sound} but needs at least {cut + 1}: "
                    f"one each for {uses}"
                )
            held_back[name], ranked["train"][name] = images[:cut], images[cut:]
        ranked["validation"] = held_back
    if "test" not in ranked:
        whole = ranked["validation"]
        if all(len(images) < 2 for images in whole.values()):
            raise UserError(
                f"'{listing.layout.parts['validation']}' has one image per class, of which none "
                f"can be spared for the test set; add images there, or a test/ folder"
            )
        cuts = {name: min(len(p) - 1, max(1, round(len(p) * TEST))) for name, p in whole.items()}
        ranked["test"] = {name: p[: cuts[name]] for name, p in whole.items()}
        ranked["validation"] = {name: p[cuts[name] :] for name, p in whole.items()}
    classes = tuple(listing.images["train"])
    return Splits(classes, *(_mixed(list(ranked[part].values())) for part in PARTS))


def folded(splits: Splits, fold: tuple[int, int]) -> Splits:
    """Cross-validation: one fold of the training images validates, the others train.

    The images of each class are dealt to the folds in their order, which is that of the hashes of
    (seed, name), so that the folds of a seed are disjoint, together hold every training image, and
    hold the same number of a class and in all, but for one image.

    Args:
        splits: of the data set; its validation set is left out, its test set stays.
        fold: which one validates, counted from 1, and how many there are.

    Raises:
        UserError: a class has fewer training images than there are folds.
    """
    number, count = fold
    by_class = [
        [image for image in splits.train if image.label == label]
        for label in range(len(splits.classes))
    ]
    others, held_back, dealt = [], [], 0
    for name, images in zip(splits.classes, by_class, strict=True):
        if len(images) < count:
            raise UserError(
                f"{setting('fold', f'{number}/{count}')}: class '{name}' has"
                f" {_count(images)} to train on, fewer than there are folds; give"
                f" {max(2, len(images))} folds at most, or more images"
            )
        # Each class goes on where the one before it ended, so that no fold gets more of all.
        turns = [(dealt + place) % count for place in range(len(images))]
        dealt += len(images)
        pairs = list(zip(turns, images, strict=True))
        held_back.append([image for turn, image in pairs if turn == number - 1])
        others.append([image for turn, image in pairs if turn != number - 1])
    return Splits(splits.classes, _mixed(others), _mixed(held_back), splits.test)


def split_folder(root: Path, seed: int) -> Splits:
    """Lists and splits a folder of images none of which is bad; see `split`.

    Raises:
        UserError: the folder is not laid out as expected, or a class has too few images.
    """
    return split(list_folder(root), seed)


def list_set(root: Path, classes: Sequence[str]) -> tuple[ImageFile, ...]:
    """Lists a folder of class folders as one set, for an evaluation on other images.

    Args:
        root: the folder; its class folders must be exactly `classes`.
        classes: class names in the order of the labels, as in `Splits.classes`.

    Returns:
        Every image, the classes mixed evenly as in `Splits`.

    Raises:
        UserError: the folder cannot be listed, or a class is unknown or missing.
    """
    found = list_classes(class_folders(root), root)
    _require_same_classes("the trained model", classes, f"'{root}'", found)
    # A run that was begun when numbers stood in the order of words has other labels.
    return _mixed(
        [
            [dataclasses.replace(image, label=label) for image in found[name]]
            for label, name in enumerate(classes)
        ]
    )


def limited(splits: Splits, train_limit: int | None, eval_limit: int | None) -> Splits:
    """Keeps the first images of each split.

    Args:
        splits: the whole splits.
        train_limit: how many training images; None for all.
        eval_limit: how many of validation and how many of test; None for all.
    """
    return Splits(
        splits.classes,
        splits.train[:train_limit],
        splits.validation[:eval_limit],
        splits.test[:eval_limit],
    )


def _require_same_classes(
    here: str, expected: Collection[str], there: str, found: Collection[str]
) -> None:
    differences = [
        f"only in {where}: {', '.join(repr(name) for name in names)}"
        for where, names in (
            (here, sorted(set(expected) - set(found))),
            (there, sorted(set(found) - set(expected))),
        )
        if names
    ]
    if differences:
        raise UserError(f"{here} and {there} must have the same classes; {'; '.join(differences)}")


def _ranked(images: Sequence[ImageFile], seed: int) -> list[ImageFile]:
    return sorted(images, key=lambda p: hashlib.sha256(f"{seed}/{p.name}".encode()).digest())


def _mixed(by_class: Sequence[Sequence[ImageFile]]) -> tuple[ImageFile, ...]:
    """Interleaves the classes, each spread evenly over the whole and kept in its own order."""
    places = [
        ((rank + 0.5) / len(images), image)
        for images in by_class
        for rank, image in enumerate(images)
    ]
    return tuple(image for _, image in sorted(places, key=lambda place: place[0]))


def _count(images: Sequence[ImageFile]) -> str:
    return "1 image" if len(images) == 1 else f"{len(images)} images"
