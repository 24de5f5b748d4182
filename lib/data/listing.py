"""Lists the images in a folder of class folders, with the class of each."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from lib.errors import UserError

# What systems, file managers and archivers leave in folders; a leading dot hides a name as well.
_LEFT_BEHIND = re.compile(
    "|".join(
        (
            # Windows
            r"thumbs\.db|ehthumbs(_vista)?\.db|desktop\.ini|found\.\d{3}|indexervolumeguid",
            r"system volume information|\$recycle\.bin|recycled|recycler",
            # macOS, also where its files are shared or archived; Icon ends in a carriage return
            r"icon[\r\uf00d]|__macosx|network trash folder|temporary items|desktop d[bf]",
            r"thevolumesettingsfolder",
            # Linux, Android
            r"lost\+found|lost\.dir",
            # Network storages: Synology, QNAP
            r"@eadir|.*@syno(resource|eastream)|@tmp|@__thumb|@recycle|@recently-snapshot",
            r"#recycle|#snapshot",
            # Programs
            r"picasa\.ini|zbthumbnail\.info|__pycache__",
        )
    ),
    re.IGNORECASE,
)
_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class ImageFile:
    """A file that should hold an image, not yet looked into.

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
    return [Path(entry.path) for entry in _visible(folder) if _leads_to_folder(entry)]


def glance(folder: Path) -> tuple[frozenset[str], bool]:
    """What lies directly inside a folder: the names of visible folders, and whether images do.

    Images are recognised by their names here, so that tables and notes do not count.

    Raises:
        UserError: the folder cannot be read.
    """
    entries = _visible(folder)
    # Links that cannot be followed are no folders here; they are an error when all is listed.
    folders = frozenset(entry.name for entry in entries if _is_folder(entry))
    return folders, any(
        entry.name not in folders and entry.name.lower().endswith(_SUFFIXES) for entry in entries
    )


def list_classes(
    folder: Path, root: Path, leaving_aside: Collection[Path] = ()
) -> dict[str, tuple[ImageFile, ...]]:
    """Lists the images of each class, however deep they lie inside the class's folder.

    Every visible file counts, whatever its extension: whether it is an image is seen when it is
    decoded. Files next to the class folders belong to no class and are passed over.

    Args:
        folder: holds one folder for each class, named after it.
        root: the data set's root, which the images' names are relative to.
        leaving_aside: folders in it that are no classes.

    Returns:
        Class name -> its images, sorted by name; labels count the classes in this order, which is
        that of their names, or of their values where all names are numbers.

    Raises:
        UserError: there is no such folder, it holds fewer than two classes, or a class is empty.
    """
    folders = [path for path in subfolders(folder) if path not in leaving_aside]
    classes = _in_order({_composed(path.name) for path in folders})
    if len(classes) < 2:
        found = f"only one, '{classes[0]}'" if classes else "none"
        if leaving_aside:
            names = ", ".join(f"{path.name}/" for path in sorted(leaving_aside))
            found += f" (and {names} without class folders, taken for test images: rename a class)"
        raise UserError(f"'{folder}' must hold two or more class folders, but there is {found}")
    images: dict[str, list[ImageFile]] = {name: [] for name in classes}
    for path in folders:
        label = classes.index(_composed(path.name))
        for file in visible_files(path):
            name = _composed(file.relative_to(root).as_posix())
            images[classes[label]].append(ImageFile(file, name, label))
    for name, found in images.items():
        if not found:
            raise UserError(
                f"the class folder '{folder / name}' holds no images; fill it or remove it"
            )
    return {name: tuple(sorted(found, key=_by_name)) for name, found in images.items()}


def all_numbers(names: Collection[str]) -> bool:
    """Whether every name is a decimal number, such as "10", "-1" or "0.5"."""
    return all(_NUMBER.fullmatch(name) for name in names)


def _in_order(names: Collection[str]) -> list[str]:
    if all_numbers(names):
        return sorted(names, key=lambda name: (Decimal(name), name))
    return sorted(names)


def _by_name(image: ImageFile) -> tuple[str, Path]:
    return image.name, image.path  # the path decides where only Unicode forms differ


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if entry.name[0] != "." and not _LEFT_BEHIND.fullmatch(entry.name)
            ]
    except OSError as error:
        raise UserError(f"the folder '{folder}' cannot be read: {error.strerror}") from error


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry next to class folders is a folder, or a link to one.

    Raises:
        UserError: it is a link that leads nowhere, and may have stood for a class.
    """
    if entry.is_symlink():
        try:
            os.stat(entry)
        except OSError as error:
            raise UserError(
                f"'{entry.path}' is a link that cannot be followed to '{os.readlink(entry)}'"
                f" ({error.strerror}): repair or remove it"
            ) from error
    return _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; a link that cannot be followed is none."""
    # is_dir() of a link that leads to itself would raise.
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def visible_files(
    folder: Path,
    above: frozenset[Path] = frozenset(),
    refused: Callable[[UserError], None] | None = None,
) -> Iterator[Path]:
    """The visible files below a folder, however deep, in no particular order.

    Args:
        folder: where to look; links to folders are followed.
        above: folders on the way here, so that a link back to one is not.
        refused: called for each folder that cannot be read, whose files are then missing.

    Raises:
        UserError: a folder cannot be read, and `refused` is None.
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
        elif entry.is_symlink():
            # A broken one is found out on decoding; one to a pipe would never be read to its end.
            if os.path.isfile(entry) or not os.path.exists(entry):
                yield Path(entry.path)
        elif entry.is_file():
            yield Path(entry.path)


def _composed(name: str) -> str:
    # Bytes that are not UTF-8 (archives from old systems) would be unprintable: shown as \xe9.
    printable = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", printable)
