"""Which picture is in which split, and in which order each split stands.

The choice is a function of (seed, file names) alone: each class is ranked by a hash of the seed and
the picture's name, and the first of the ranking are held back. So it is the same after any restart
and on any machine, and no picture is ever in two splits.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.listing import Picture, list_classes, subfolders
from lib.errors import UserError

# Of class folders alone this part of each class is held back from training ...
HELD_BACK = 1 / 4
# ... and this part of what is held back, or of a given validation set, becomes the test set.
TEST = 1 / 5

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The three disjoint sets of a run.

    Each stands in an order that mixes the classes evenly, so that the first N pictures have the
    proportions of the whole.

    Attributes:
        classes: class names; a picture's label is an index into them.
        train: what the weights are fitted to.
        validation: what decides which checkpoint is the best.
        test: looked at once, at the end.
    """

    classes: tuple[str, ...]
    train: tuple[Picture, ...]
    validation: tuple[Picture, ...]
    test: tuple[Picture, ...]


def split_folder(root: Path, seed: int) -> Splits:
    """Splits a folder of pictures for training, validation and test.

    Args:
        root: either holds `train/`, `validation/` and optionally `test/` with the same class
            folders in each, or class folders alone. Without `test/` a fifth of each class of the
            validation set is taken for it, at least one picture of every class that has two.
        seed: another seed makes another choice, and another order.

    Returns:
        Disjoint splits that together hold every picture of the folder.

    Raises:
        UserError: the folder is not laid out like this, or a class has too few pictures.
    """
    folders = {path.name.lower(): path for path in subfolders(root)}
    given = {part: folders[part] for part in _PARTS if part in folders}
    if given:
        return _split_given(root, given, seed)

    classes = list_classes(root, root)
    train, validation, test = [], [], []
    for name, pictures in classes.items():
        held_back = max(2, round(len(pictures) * HELD_BACK))
        if len(pictures) <= held_back:
            raise UserError(
                f"class '{name}' has {_count(pictures)} but needs at least {held_back + 1}: one "
                f"each for training, validation and test"
            )
        ranked = _ranked(pictures, seed)
        for_test = max(1, round(held_back * TEST))
        test.append(ranked[:for_test])
        validation.append(ranked[for_test:held_back])
        train.append(ranked[held_back:])
    return Splits(tuple(classes), _mixed(train), _mixed(validation), _mixed(test))


def list_set(root: Path, classes: Sequence[str]) -> tuple[Picture, ...]:
    """Lists a folder of class folders as one set, for an evaluation on other pictures.

    Args:
        root: the folder; its class folders must be exactly `classes`.
        classes: class names in the order of the labels, as in `Splits.classes`.

    Returns:
        Every picture, the classes mixed evenly as in `Splits`.

    Raises:
        UserError: the folder cannot be listed, or a class is unknown or missing.
    """
    found = list_classes(root, root)
    _require_same_classes("the trained model", classes, f"'{root}'", found)
    return _mixed(list(found.values()))


def limited(splits: Splits, train_limit: int | None, eval_limit: int | None) -> Splits:
    """Keeps the first pictures of each split.

    Args:
        splits: the whole splits.
        train_limit: how many training pictures; None for all.
        eval_limit: how many of validation and how many of test; None for all.
    """
    return Splits(
        splits.classes,
        splits.train[:train_limit],
        splits.validation[:eval_limit],
        splits.test[:eval_limit],
    )


def without(splits: Splits, names: Collection[str]) -> Splits:
    """Leaves out the pictures of these names, such as those that cannot be decoded.

    Raises:
        UserError: a split would lose the last picture of a class.
    """
    dropped = frozenset(names)
    kept = {}
    for part in _PARTS:
        pictures = getattr(splits, part)
        kept[part] = tuple(p for p in pictures if p.name not in dropped)
        for label in {p.label for p in pictures} - {p.label for p in kept[part]}:
            raise UserError(
                f"no picture of class '{splits.classes[label]}' is left in the {part} set once "
                f"the bad ones are left out; add good ones"
            )
    return Splits(splits.classes, **kept)


def _split_given(root: Path, given: Mapping[str, Path], seed: int) -> Splits:
    for part in ("train", "validation"):
        if part not in given:
            raise UserError(
                f"'{root}' holds {' and '.join(f'{p}/' for p in given)} but no {part}/; expected "
                f"train/, validation/ and optionally test/, or class folders alone"
            )
    listed = {part: list_classes(folder, root) for part, folder in given.items()}
    classes = tuple(listed["train"])
    for part in listed:
        _require_same_classes("train/", classes, f"{part}/", listed[part])

    ranked = {
        part: [_ranked(pictures, seed) for pictures in listed[part].values()] for part in listed
    }
    if "test" not in ranked:
        whole = ranked["validation"]
        if all(len(pictures) < 2 for pictures in whole):
            raise UserError(
                f"'{given['validation']}' has one picture a class, of which none can be spared "
                f"for the test set; add pictures there, or a test/ folder"
            )
        cuts = [min(len(p) - 1, max(1, round(len(p) * TEST))) for p in whole]
        ranked["test"] = [p[:cut] for p, cut in zip(whole, cuts, strict=True)]
        ranked["validation"] = [p[cut:] for p, cut in zip(whole, cuts, strict=True)]
    return Splits(classes, *(_mixed(ranked[part]) for part in _PARTS))


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


def _ranked(pictures: Sequence[Picture], seed: int) -> list[Picture]:
    return sorted(pictures, key=lambda p: hashlib.sha256(f"{seed}/{p.name}".encode()).digest())


def _mixed(by_class: Sequence[Sequence[Picture]]) -> tuple[Picture, ...]:
    """Interleaves the classes, each spread evenly over the whole and kept in its own order."""
    places = [
        ((rank + 0.5) / len(pictures), picture)
        for pictures in by_class
        for rank, picture in enumerate(pictures)
    ]
    return tuple(picture for _, picture in sorted(places, key=lambda place: place[0]))


def _count(pictures: Sequence[Picture]) -> str:
    return "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
