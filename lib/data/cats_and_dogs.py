"""Downloads the cats-and-dogs photographs into the cache, whole or not at all.

`fetch(data_dir, SOURCES, progress)` returns the folder with `train/` and `validation/`, each with
`cats/` and `dogs/`. That folder appears by one rename, after the archive was checked, so it never
holds a part of the images.
"""

import os
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lib.config import setting
from lib.errors import UserError
from lib.system import fault_points
from lib.system.downloads import DownloadError, discard, download, source_of
from lib.system.file_lock import exclusive_lock
from lib.system.progress import Progress

SOURCES: tuple[str, ...] = (
    "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
    "https://download.mlcc.google.com/mledu-datasets/cats_and_dogs_filtered.zip",
)
NAME = "cats_and_dogs_filtered"
COUNTS = {"train/cats": 1000, "train/dogs": 1000, "validation/cats": 500, "validation/dogs": 500}
ANSWER_WITHIN = 7.0  # seconds for all sources together, so that no network is soon known

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,  # zipfile: an encrypted member, or one compressed in a way it does not know
)


class _ArchiveError(Exception):
    """Why a downloaded archive is not the data set."""


def fetch(data_dir: Path, urls: Sequence[str], progress: Progress) -> Path:
    """Returns the folder of the unpacked data set, downloading it where it is not there yet.

    Processes that fetch into the same folder at once take turns; a call after a kill goes on
    where the download stopped.

    Args:
        data_dir: either the unpacked data set itself, used as it is, or the folder in which
            `cats_and_dogs_filtered` is or will be.
        urls: addresses of the archive, tried in this order (an address from which a part is
            already there comes first).
        progress: how the work is reported.

    Raises:
        UserError: no source gave the data set, or `data_dir` cannot be written.
    """
    try:
        target = folder_in(data_dir)
        if not target.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(data_dir / f".{NAME}.lock", progress):
                if not target.exists():
                    _fetch_from_any(urls, data_dir, progress)
    except OSError as error:
        raise UserError(
            f"the data set cannot be kept in {data_dir} ({error.strerror or error}): "
            "free some space there, or name a folder that can be written with "
            f"{setting('data_dir', 'DIR')}"
        ) from error
    if not _holds_the_classes(target):
        raise UserError(
            f"{target} is not the unpacked data set, which has {', '.join(COUNTS)}: "
            f"move it away, or name another folder with {setting('data_dir', 'DIR')}"
        )
    return target


def folder_in(data_dir: Path) -> Path:
    """Where the unpacked data set is or will be: `data_dir` itself, or a folder in it."""
    return data_dir if _holds_the_classes(data_dir) else data_dir / NAME


def _holds_the_classes(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in COUNTS)


def _fetch_from_any(urls: Sequence[str], data_dir: Path, progress: Progress) -> None:
    part = data_dir / f"{NAME}.zip.part"
    begun = source_of(part)
    refusals = []
    for url in sorted(urls, key=lambda url: url != begun):
        try:
            download(url, part, b"PK", progress, ANSWER_WITHIN / len(urls))
            _unpack(part, _checked_images(part), data_dir, progress)
        except DownloadError as error:
            refusals.append(f"{url}: {error}")
        except _ArchiveError as error:
            discard(part)
            refusals.append(f"{url}: not the archive of the data set, and removed again: {error}")
        else:
            discard(part)
            return
    raise UserError(
        f"cats_and_dogs could not be downloaded ({'; '.join(refusals)}): "
        f"{'run the same command again to go on, or ' if source_of(part) else ''}"
        f"give {setting('dataset_url', 'MIRROR')} or the unpacked folder as "
        f"{setting('data_dir', 'DIR')}, or your own images as {setting('dataset', 'FOLDER')}, "
        f"or take {setting('dataset', 'drawn')}, which needs no network"
    )


def _checked_images(path: Path) -> list[zipfile.ZipInfo]:
    """The images in an archive, after every member was read and found whole.

    Raises:
        _ArchiveError: it is not a zip archive, is damaged, would write outside its folder, or
            holds more or fewer images than the data set.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_harmless(member)
            if damaged := archive.testzip():
                raise _ArchiveError(f"{damaged} is damaged")
    except _UNREADABLE as error:
        raise _ArchiveError(" ".join(str(error).split()) or "it ends too early") from error
    folders = {PurePosixPath(NAME, name) for name in COUNTS}
    # Keyed by path: a name that occurs twice is one file when unpacked.
    images = {
        path: member
        for member in members
        if (path := PurePosixPath(member.filename)).suffix.lower() == ".jpg"
        and path.parent in folders
        and not path.name.startswith(".")
        and not member.is_dir()
    }
    found = Counter(path.parent for path in images)
    for name, expected in COUNTS.items():
        if (number := found[PurePosixPath(NAME, name)]) != expected:
            raise _ArchiveError(f"{name} holds {number} images, not {expected}")
    return list(images.values())


def _check_harmless(member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
        raise _ArchiveError(f"{member.filename!r} would land outside the target")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _ArchiveError(f"{member.filename!r} is a link")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _ArchiveError(f"{member.filename!r} is compressed in an unexpected way")


def _unpack(path: Path, images: list[zipfile.ZipInfo], data_dir: Path, progress: Progress) -> None:
    """Unpacks the images next to the target and moves them there all at once."""
    temporary = data_dir / f".{NAME}.unpacking"
    if temporary.exists():  # left by a kill
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        with (
            zipfile.ZipFile(path) as archive,
            progress("unpacking", len(images), "images") as advance,
        ):
            for image in images:
                fault_points.point("unpack")
                archive.extract(image, temporary)
                advance(1)
        os.sync()  # A power cut after the rename must not leave empty images behind.
        fault_points.point("unpacked")
        os.rename(temporary / NAME, data_dir / NAME)
        fault_points.point("fetched")
    finally:
        shutil.rmtree(temporary)
