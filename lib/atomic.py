"""Files that are either the old one or the new one, never half of each."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block ends well.

    A kill at any instant leaves the old file (or none); an exception removes the temporary one.

    Args:
        path: the file to write; its folder is created where it is missing.

    Yields:
        The path to write to, in the same folder, so that the final rename is atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file at once; each needs a temporary file of its own.
    # The suffix is kept: writers such as matplotlib and NumPy choose the format by it.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
