"""Paths that TensorFlow takes as they stand.

TensorFlow looks by a pattern for the checkpoint or SavedModel that it is to read, so that brackets
and backslashes in the names of folders are not taken for themselves, and there is no way to escape
them. And its strings are UTF-8, which names of files need not be.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lib.errors import UserError

# `\` divides the names of a path on Windows, where it is no sign of a pattern.
_OF_PATTERNS = re.compile(r"[*?\[\]]" if os.sep == "\\" else r"[*?\[\]\\]")


@contextlib.contextmanager
def literal(folder: Path) -> Iterator[Path]:
    """Yields a path of a folder without any character that TensorFlow reads otherwise.

    That is the folder's own, where it can be; else that of a symbolic link to it, in a temporary
    folder which goes when the block ends. What is made in it lies in the folder itself.

    Args:
        folder: an existing one.

    Raises:
        UserError: no temporary folder has such a path.
        OSError: the link cannot be made.
    """
    if is_literal(folder):
        yield folder
        return
    for place in (tempfile.gettempdir(), "/tmp"):
        if is_literal(Path(place)):
            break
    else:
        raise UserError(
            f"TensorFlow cannot read the path {folder}, nor that of the temporary folder {place}:"
            " set TMPDIR to a folder without any of *?[]\\ in its path"
        )
    with tempfile.TemporaryDirectory(prefix="thaw-", dir=place) as temporary:
        link = Path(temporary) / "folder"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def is_literal(path: Path) -> bool:
    """Whether TensorFlow takes a path as it stands."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, as Python represents them
        return False
    return not _OF_PATTERNS.search(str(path))
