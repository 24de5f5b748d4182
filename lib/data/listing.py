"""Which pictures a folder of class folders holds, and which class each of them shows."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError

# What file managers and archivers leave behind; a leading dot hides a name as well.
_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True)
class Picture:
    """A file that should hold a picture, not yet looked into.

    Attributes:
        path: where to read it.
        name: what to call it wherever people or hashes meet it: the path relative to the data
            set's root, with "/" between folders and in Unicode's composed form, so that it is the
            same on every file system.
        label: the number of its class, counted from 0.
    """

    path: Path
    name: str
    label: int


def subfolders(folder: Path) -> list[Path]:
    """The visible folders directly inside `folder`, in no particular order.

    Raises:
        UserError: there is no such folder, it is a file, or it may not be read.
    """
    if not folder.exists():
        raise UserError(f"no such folder: '{folder}'; expected one with a folder for each class")
    if not folder.is_dir():
        raise UserError(f"'{folder}' is a file; expected a folder with a folder for each class")
    return [Path(entry.path) for entry in _visible(folder) if _is_folder(entry)]


def list_classes(folder: Path, root: Path) -> dict[str, tuple[Picture, ...]]:
    """Lists the pictures of each class, however deep they lie inside the class's folder.

    Every visible file counts, whatever its extension: whether it is a picture is seen when it is
    decoded. Files beside the class folders belong to no class and are passed over.

    Args:
        folder: holds one folder for each class, named after it.
        root: the data set's root, which the pictures' names are relative to.

    Returns:
        Class name -> its pictures, both sorted by name; labels count the classes in this order.

    Raises:
        UserError: there is no such folder, it holds fewer than two classes, or a class is empty.
    """
    folders = subfolders(folder)
    classes = sorted({_composed(path.name) for path in folders})
    if len(classes) < 2:
        found = f"only one, '{classes[0]}'" if classes else "none"
        raise UserError(f"'{folder}' must hold two or more class folders, but there is {found}")
    pictures: dict[str, list[Picture]] = {name: [] for name in classes}
    for path in folders:
        label = classes.index(_composed(path.name))
        for file in visible_files(path):
            name = _composed(file.relative_to(root).as_posix())
            pictures[classes[label]].append(Picture(file, name, label))
    for name, found in pictures.items():
        if not found:
            raise UserError(
                f"the class folder '{folder / name}' holds no pictures; fill it or remove it"
            )
    return {name: tuple(sorted(found, key=_by_name)) for name, found in pictures.items()}


def _by_name(picture: Picture) -> tuple[str, Path]:
    return picture.name, picture.path  # the path decides where only Unicode forms differ


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if e.name[0] != "." and e.name.lower() not in _LEFT_BEHIND]
    except OSError as error:
        raise UserError(f"the folder '{folder}' cannot be read: {error.strerror}") from error


def visible_files(
    folder: Path,
    above: frozenset[Path] = frozenset(),
    refused: Callable[[UserError], None] | None = None,
) -> Iterator[Path]:
    """The visible files below a folder, however deep, in no particular order.

    Args:
        folder: where to look; links to folders are followed.
        above: folders on the way here, so that a link back to one is not.
        refused: is told of each folder that cannot be read, whose files are then missing.

    Raises:
        UserError: a folder cannot be read, and there is nobody to tell.
    """
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = _visible(folder)
    except UserError as error:
        if refused is None:
            raise
        refused(error)
        return
    for entry in entries:
        if _is_folder(entry):
            yield from visible_files(Path(entry.path), above | {here}, refused)
        elif entry.is_symlink() or entry.is_file():  # a broken link is found out on decoding
            yield Path(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _composed(name: str) -> str:
    # Bytes that are not UTF-8 (archives from old systems) would be unprintable: shown as \xe9.
    printable = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", printable)
