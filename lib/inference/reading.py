"""Finds the images that a user names, and reads them ahead of the network."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from lib.data.decoding import decode, resize
from lib.data.listing import visible_files
from lib.errors import UserError
from lib.system.prefetching import prefetched
from lib.system.runtime import cores


class Read(NamedTuple):
    """A file that was read.

    Attributes:
        path: the file.
        pixels: uint8 [size, size, 3], what the network sees; None if it is no image.
        shown: uint8 [height, width, 3], what people see; None where it was not asked for.
        fault: why it is no image; empty if it is one.
    """

    path: Path
    pixels: np.ndarray | None
    shown: np.ndarray | None
    fault: str


def named_files(
    arguments: Iterable[str], standard_input: BinaryIO | None
) -> Iterator[Path | UserError]:
    """Lists the files that arguments name: themselves, or all visible ones below a folder, sorted.

    Args:
        arguments: of the command line; "-" stands for names on standard input, one per line.
        standard_input: where these come from; None where it was closed.

    Yields:
        Paths; an error in the place of a folder that cannot be read, or in which there is nothing.
    """
    for argument in arguments:
        if argument == "-":
            if standard_input is None:
                yield UserError("- stands for names on standard input, but that is closed")
                continue
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in standard_input)
            names = [line for line in lines if line]
        else:
            names = [argument]
        for name in names:
            # Path.is_dir raises for a name that is too long, or in a folder that is closed to us.
            yield from _files_of(Path(name)) if os.path.isdir(name) else [Path(name)]


def _files_of(folder: Path) -> list[Path | UserError]:
    errors: list[UserError] = []
    files = sorted(visible_files(folder, refused=errors.append))
    return [*errors, *files] or [UserError(f"the folder '{folder}' holds no files")]


def read_ahead(paths: Sequence[Path], size: int, shown: int, limit: int) -> Iterator[Read]:
    """Reads files in threads, in the order given, while those before are in use.

    Args:
        paths: the files.
        size: side of the square that the network sees.
        shown: the longer side of what people are to see, at most; 0 if they see nothing.
        limit: how many files are read before they are asked for; memory is bounded by it.
    """

    def read(path: Path) -> Read:
        try:
            image = decode(path.read_bytes())
            return Read(path, resize(image, size), _reduced(image, shown) if shown else None, "")
        except OSError as error:
            fault = error.strerror or str(error)
        except MemoryError:
            fault = "there is not enough memory for it"
        except Exception as error:  # whatever it is: this one must not cost the others
            fault = str(error) or type(error).__name__
        return Read(path, None, None, fault)

    return prefetched(read, paths, results=limit, threads=cores())


def _reduced(image: Image.Image, longest: int) -> np.ndarray:
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)
