"""Finds which folders of a data set are its splits, and which are classes.

Split folders go by many names (`train`, `training_set`, `seg_train`, `valid`, `dev`, `testing`),
and archives often nest them once (`training_set/training_set/cats`). A class may have such a name
too, so names alone decide nothing: a split folder holds class folders, a class folder holds
images. What can be read in two ways is an error that says what was found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lib.config import setting
from lib.data.listing import glance, subfolders
from lib.errors import UserError

PARTS = ("train", "validation", "test")
_USE = {"train": "training", "validation": "validation", "test": "test"}

_PART_NAME = re.compile(
    r"(seg)?"
    r"((?P<train>train(ing)?)"
    r"|(?P<validation>val(id(ation)?)?|dev(elopment)?|eval(uation)?)"
    r"|(?P<test>test(ing)?))"
    r"(data|set|split|folder|images?|imgs?|images?|photos?|samples?)*\d*"
)


@dataclass(frozen=True)
class Layout:
    """How the folder of a data set is to be read.

    Attributes:
        parts: "train", "validation" or "test" -> the folder that holds its class folders. Class
            folders alone are the training set, from which the others have to be taken.
        left_aside: folders next to class folders that are no classes.
        note: what was taken for what, on one line; empty where it goes without saying.
    """

    parts: Mapping[str, Path]
    left_aside: tuple[Path, ...] = ()
    note: str = ""


class _Folder(NamedTuple):
    """A folder directly inside a data set's.

    Attributes:
        path: of the folder.
        inner: the same, or the only folder inside it where that repeats its name or meaning.
        folders: names of the folders in `inner`.
        has_images: whether images lie directly in `inner`.
    """

    path: Path
    inner: Path
    folders: frozenset[str]
    has_images: bool

    @property
    def holds_folders_only(self) -> bool:
        return bool(self.folders) and not self.has_images


def class_folders(folder: Path) -> Path:
    """Where a set's class folders are: in its folder, or in one of the same meaning nested there.

    Raises:
        UserError: the folder cannot be read.
    """
    return _look_into(folder).inner


def find_layout(root: Path) -> Layout:
    """Finds out how the folder of a data set is laid out.

    Raises:
        UserError: the folder cannot be read, or its folders can be read in more than one way.
    """
    folders = [_look_into(path) for path in sorted(subfolders(root))]
    named = _named_as_parts(folders)
    trained = frozenset().union(*(f.folders for f in folders if named.get(f.path) == "train"))
    # Images to be classified, as competitions have them; often in one folder below.
    unlabelled = [
        f
        for f in folders
        if named.get(f.path) == "test" and len(f.folders) < 2 and not f.folders & trained
    ]
    others = [f for f in folders if f.path not in named]
    parts: dict[str, list[_Folder]] = {}
    for folder in folders:
        if folder.path in named and folder not in unlabelled:
            parts.setdefault(named[folder.path], []).append(folder)

    if _are_parts(parts, others, bool(unlabelled)):
        return _given(root, parts, others, unlabelled)
    _require_no_hidden_parts(root, [f for f in folders if f not in unlabelled])
    note = _sentence([_left_aside(root, unlabelled, [])])
    return Layout({"train": root}, tuple(f.path for f in unlabelled), note)


def _look_into(path: Path) -> _Folder:
    inner = path
    inside, has_images = glance(path)
    if len(inside) == 1 and not has_images:
        (name,) = inside
        part = _part_named(name)
        if name == path.name or (part and part == _part_named(path.name)):
            inner = path / name
            inside, has_images = glance(inner)
    return _Folder(path, inner, inside, has_images)


def _part_named(name: str) -> str | None:
    """Which part of a data set a folder of this name usually is."""
    found = _PART_NAME.fullmatch(re.sub(r"[\W_]", "", name.casefold()))
    return next((part for part in PARTS if found and found[part]), None)


def _part_among_words(name: str) -> str | None:
    """The same for names such as cars_train, of which one word says it."""
    found = {_part_named(word) for word in re.split(r"[\W_]+", name.casefold())} - {None}
    return found.pop() if len(found) == 1 else None


def _named_as_parts(folders: Sequence[_Folder]) -> dict[Path, str]:
    named = {f.path: part for f in folders if (part := _part_named(f.path.name))}
    if "train" in named.values():
        return named
    # bullet_train may well be a class: such names need folders inside, and a counterpart.
    worded = {f.path: part for f in folders if (part := _part_among_words(f.path.name))}
    has_training_set = any(
        worded.get(f.path) == "train" and f.holds_folders_only and len(f.folders) > 1
        for f in folders
    )
    return worded if has_training_set and len({*worded.values()}) > 1 else named


def _are_parts(
    parts: Mapping[str, Sequence[_Folder]], others: Sequence[_Folder], has_unlabelled: bool
) -> bool:
    """Whether folders with names of parts are parts, or the data set is class folders alone."""
    if len(parts) != 1 or not others:
        return bool(parts)
    ((part, folders),) = parts.items()
    if not any(f.holds_folders_only for f in folders):
        return False  # bus/, car/ and train/, full of images
    if part == "train" and has_unlabelled:
        return True
    # In classes that are divided further, train/steam and bus/city, it is another matter in each.
    divided = all(f.holds_folders_only for f in others)
    return not divided or any(
        len(f.folders & other.folders) > 1 for f in folders for other in others
    )


def _given(
    root: Path,
    parts: Mapping[str, Sequence[_Folder]],
    others: Sequence[_Folder],
    unlabelled: Sequence[_Folder],
) -> Layout:
    for part, folders in parts.items():
        if len(folders) > 1:
            raise UserError(
                f"'{root}' holds {_listed(root, folders)}, which all may be for {_USE[part]};"
                f" expected one: merge them, or move the others away"
            )
    missing = [
        part
        for part in ("train", "validation")
        if part not in parts
        and not (part == "validation" and "train" in parts and ("test" in parts or unlabelled))
    ]
    if missing:
        found = _listed(root, [folders[0] for folders in parts.values()])
        next_to = f", next to {_listed(root, others)}" if others else ""
        advice = ""
        if "train" in parts:
            inner = parts["train"][0].inner
            advice = f", or {setting('dataset', inner)}, of which a quarter is then held back"
        raise UserError(
            f"'{root}' holds {found} but no {missing[0]}/{next_to}; expected train/, validation/"
            f" and optionally test/, or class folders alone{advice}"
        )

    chosen = {part: parts[part][0].inner for part in PARTS if part in parts}
    said = []
    names = {part: folder.relative_to(root).as_posix() for part, folder in chosen.items()}
    if any(name.casefold() != part for part, name in names.items()):
        said.append(
            "taken " + ", ".join(f"for {_USE[part]}: {name}/" for part, name in names.items())
        )
    if "validation" not in parts:
        share, use = (
            ("a fifth", "validation") if "test" in parts else ("a quarter", "validation and test")
        )
        said.append(f"{share} of each training class is held back for {use}")
    said.append(_left_aside(root, unlabelled, others))
    return Layout(chosen, note=_sentence(said))


def _require_no_hidden_parts(root: Path, classes: Sequence[_Folder]) -> None:
    """Refuses what would be trained as classes and surely is something else.

    Raises:
        UserError: all of the folders hold the same folders, or one holds those next to it.
    """
    names = {f.path.name for f in classes}
    for folder in classes:
        copies = folder.folders & (names - {folder.path.name})
        if folder.holds_folders_only and len(copies) > 1:
            raise UserError(
                f"'{folder.inner}' holds {_quoted(copies)}, which are folders next to it too: it"
                " looks like a copy of the data set in itself and not like a class; move it away"
            )
    shared = frozenset.intersection(*(f.folders for f in classes)) if classes else frozenset()
    if len(classes) > 1 and len(shared) > 1 and all(f.holds_folders_only for f in classes):
        raise UserError(
            f"'{root}' holds {_listed(root, classes)}, each of which holds {_quoted(shared)}: these"
            " look like parts of a data set and not like classes; expected train/, validation/ and"
            " optionally test/ with class folders in each, or class folders with images in them"
        )


def _left_aside(root: Path, unlabelled: Sequence[_Folder], others: Sequence[_Folder]) -> str:
    listed = [f"{_listed(root, unlabelled)} (no class folders)"] if unlabelled else []
    if others:
        listed.append(_listed(root, others))
    return f"left aside: {', '.join(listed)}" if listed else ""


def _listed(root: Path, folders: Sequence[_Folder]) -> str:
    return _first([f"{f.inner.relative_to(root).as_posix()}/" for f in folders], " and ")


def _quoted(names: frozenset[str]) -> str:
    return _first([f"'{name}'" for name in sorted(names)], ", ")


def _first(words: Sequence[str], between: str) -> str:
    rest = [f"{len(words) - 5} more"] if len(words) > 5 else []
    return between.join([*words[:5], *rest])


def _sentence(parts: Sequence[str]) -> str:
    line = "; ".join(filter(None, parts))
    return line[:1].upper() + line[1:]
