"""Atomic writing: a file is either the old one or the new one, never half of each."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from lib.system import fault_points

# What the system answers where there is no room, or no right, to write.
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.partial(\..*)?")
_NAME_BYTES = 255  # that file systems take, at most


def fitting(stem: str, ending: str) -> str:
    """A file name that file systems take: the stem, shortened where it must be, and the ending."""
    room = _NAME_BYTES - len(os.fsencode(ending))
    encoded = os.fsencode(stem)
    if len(encoded) > room:  # never in the middle of a letter
        stem = encoded[:room].decode("utf-8", "ignore")
    return stem + ending


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path` that takes its place when the block ends well.

    A kill at any instant leaves the old file (or none); an exception removes the temporary one.

    Args:
        path: the file to write; its folder is created where it is missing.

    Yields:
        The path to write to, in the same folder, so that the final rename is atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file at once; each needs a temporary file of its own.
    # The suffix is kept: writers such as matplotlib and NumPy choose the format by it.
    ending = f".{secrets.token_hex(4)}.partial{path.suffix}"
    temporary = path.with_name(fitting(f".{path.stem}", ending))
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        fault_points.point(f"write:{path.name}")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `replacing` was writing to."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path, of_others: tuple[str, ...] = ()) -> None:
    """Removes what killed processes were writing below a folder.

    Args:
        folder: the folder.
        of_others: beginnings of names in it that other processes may be writing to just now.
    """
    for path in folder.rglob(".*.partial*"):
        in_folder = path.relative_to(folder).parts[0].removeprefix(".")
        if is_temporary(path) and path.is_file() and not in_folder.startswith(of_others):
            path.unlink()
