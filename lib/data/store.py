"""How the pixels of any picture are had at once: checked and decoded early, remembered on disk.

Opening a store reads every file once, in parallel: hashed, decoded, resized. What was found is kept
in the cache as one ZIP file, whose members carry checksums:

    pixels        uint8 [pictures, size, size, 3], where this fits the memory budget
    index.json    where in the file the pixels begin; and of each picture's file: path -> size and
                  time, digest of its bytes, what is wrong with it

A batch is read from there, by way of the system's memory and not of the program's. The next start
finds both and decodes only the files that have changed since. A cache that is damaged in any way
is made anew.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import PIL

from lib import Progress, faults
from lib.atomic import replacing
from lib.data.listing import Picture
from lib.data.pictures import UnreadablePicture, decode, resize
from lib.errors import UserError
from lib.runtime import cores, release_memory

# To be raised whenever the same file would give other pixels or another verdict than before.
_VERSION = 3

_THREADS = cores()


class _Checked(NamedTuple):
    """What is known of a file since it was last read."""

    size: int
    mtime_ns: int
    digest: str
    """SHA-256 of the bytes; empty if they could not be read."""
    fault: str
    """Why it is not a picture; empty if it is one."""


class _Kept(NamedTuple):
    """The pixels of all pictures, in a cache file that stays open: it may be replaced meanwhile."""

    file: BinaryIO
    begins: int
    shape: tuple[int, int, int, int]

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Reads those of some pictures, int [n]; any number of threads may do so at once."""
        batch = np.empty((len(places), *self.shape[1:]), np.uint8)
        for place, row in zip(places, batch, strict=True):
            offset = self.begins + int(place) * row.nbytes
            try:
                whole = os.preadv(self.file.fileno(), [row], offset) == row.nbytes
            except OSError as error:
                raise UserError(f"{self._what} cannot be read: {error.strerror}") from error
            if not whole:
                raise UserError(f"{self._what} were cut short; start the run again")
        return batch

    @property
    def _what(self) -> str:
        return f"the decoded pictures in '{Path(self.file.name).parent}'"


class PictureStore:
    """Pictures of one size, addressed by row; made by `open_store`.

    Attributes:
        pictures: the sound pictures, in the order in which they were given; row i is pictures[i].
        digests: SHA-256 of each one's file, as hexadecimal digits, in the same order.
        skipped: (name, reason) of each picture that was left out.
        size: the side of the pictures, in pixels.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        size: int,
        checked: dict[str, _Checked],
        kept: _Kept | None,
    ):
        sound = [p for p in pictures if not checked[_key(p)].fault]
        self.pictures = tuple(sound)
        self.digests = tuple(checked[_key(p)].digest for p in sound)
        self.skipped = tuple(
            (p.name, checked[_key(p)].fault) for p in pictures if checked[_key(p)].fault
        )
        self.size = size
        self._kept = kept  # its rows are in the order of `checked`
        if kept is None:
            self._threads = ThreadPoolExecutor(_THREADS, "decode")
        else:
            place = {path: i for i, path in enumerate(checked)}
            self._places = np.array([place[_key(p)] for p in sound], np.intp)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Returns the pixels of some pictures, from the cache or decoded now: the same bits.

        Args:
            rows: int [n], indices into `pictures`.

        Returns:
            uint8 [n, size, size, 3], the caller's own.

        Raises:
            UserError: a file that has to be decoded now has changed since the store was opened, or
                the cache can no longer be read.
        """
        if self._kept is not None:
            return self._kept.rows(self._places[rows])
        batch = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for i, decoded in enumerate(self._threads.map(self._decode_again, rows)):
            batch[i] = decoded
        return batch

    def _decode_again(self, row: int) -> np.ndarray:
        path = self.pictures[row].path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"'{path}' can no longer be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.digests[row]:
            raise UserError(f"'{path}' has changed since the run started; start it again")
        return resize(decode(data), self.size)


def open_store(
    pictures: Sequence[Picture],
    size: int,
    cache_dir: Path,
    memory_mb: int,
    on_bad: Literal["stop", "skip"],
    progress: Progress,
) -> PictureStore:
    """Checks every picture and makes their pixels available.

    One store for all splits is best: what is cached then depends on the set of files and the size
    alone, not on the seed.

    Args:
        pictures: in the order in which the rows are to be numbered.
        size: the side of the square that each is resized to, in pixels.
        cache_dir: its folder `pictures/` keeps what was found; two processes may share it.
        memory_mb: budget in MiB; pixels that fit are kept, otherwise none of them is and each
            picture is decoded whenever it is asked for.
        on_bad: whether pictures that cannot be decoded stop everything or are left out.
        progress: told of the files that have to be read.

    Returns:
        The store of the pictures that can be decoded.

    Raises:
        UserError: some pictures are bad and `on_bad` is "stop", or all of them are; or the cache
            cannot be written.
    """
    paths = sorted({_key(picture) for picture in pictures})
    shape = (len(paths), size, size, 3)
    fits = np.prod(shape, dtype=np.int64) <= memory_mb * 2**20
    cache = cache_dir / "pictures" / f"{_fingerprint(paths, size)}.zip"

    checked, kept = _recall(cache, shape if fits else None)
    changed = [i for i, path in enumerate(paths) if not _unchanged(path, checked.get(path))]
    if changed:
        pixels = None
        if fits:
            pixels = kept.rows(np.arange(len(paths))) if kept else np.zeros(shape, np.uint8)

        def check(i: int) -> _Checked:
            faults.point("decode")
            return _check(paths[i], size, pixels[i] if fits else None)

        with (
            progress("checking pictures", len(changed), "pictures") as advance,
            ThreadPoolExecutor(_THREADS, "decode") as threads,
            # Closed first: an interrupt then drops the files still waiting.
            contextlib.closing(threads.map(check, changed)) as results,
        ):
            for i, result in zip(changed, results, strict=True):
                checked[paths[i]] = result
                advance(1)
        if any(checked[paths[i]].digest for i in changed):
            kept = _remember(cache, checked, pixels)
        del pixels
        release_memory()

    store = PictureStore(pictures, size, {path: checked[path] for path in paths}, kept)
    if store.skipped and (on_bad == "stop" or not store.pictures):
        raise UserError(_complaint(store.skipped, len(pictures)))
    return store


def _check(path: str, size: int, row: np.ndarray | None) -> _Checked:
    """Reads and decodes a file; its pixels go into `row`, uint8 [size, size, 3], where given."""
    try:
        found = os.stat(path)
        data = Path(path).read_bytes()
    except OSError as error:
        # No file has this size: it is tried again at each start, since what is in the way (a right,
        # a network) may go without leaving a trace in the file's size and time.
        return _Checked(-1, -1, "", f"cannot be read: {error.strerror}")
    fault = ""
    try:
        image = decode(data)
        if row is not None:
            row[...] = resize(image, size)
    except UnreadablePicture as error:
        fault = str(error)
    return _Checked(found.st_size, found.st_mtime_ns, hashlib.sha256(data).hexdigest(), fault)


def _unchanged(path: str, checked: _Checked | None) -> bool:
    if checked is None:
        return False
    try:
        found = os.stat(path)
    except OSError:
        return False  # reading it will say what is wrong
    return (found.st_size, found.st_mtime_ns) == (checked.size, checked.mtime_ns)


def _recall(
    cache: Path, shape: tuple[int, int, int, int] | None
) -> tuple[dict[str, _Checked], _Kept | None]:
    """Takes from the cache what is known; nothing is, unless it has all that is asked for.

    Args:
        cache: the file.
        shape: of the pixels; None if they are not wanted, but only the verdicts.
    """
    try:
        with contextlib.ExitStack() as unless_kept:
            file = unless_kept.enter_context(open(cache, "rb"))
            with zipfile.ZipFile(file) as archive:
                index = json.loads(archive.read("index.json"))
                checked = {path: _Checked(*values) for path, values in index["files"].items()}
                if shape is None:
                    return checked, None
                # Reads all of it in parts, and compares the checksums.
                if archive.testzip() or archive.getinfo("pixels").file_size != np.prod(shape):
                    return {}, None
            unless_kept.pop_all()
            return checked, _Kept(file, index["pixels_begin"], shape)
    except FileNotFoundError:
        return {}, None
    except Exception:
        # A damaged file can make any layer of the reading trip, and whatever it was, the cure is
        # the same: it is only a cache, the pictures themselves are read again, and shown to be.
        return {}, None


def _remember(cache: Path, checked: dict[str, _Checked], pixels: np.ndarray | None) -> _Kept | None:
    """Writes the cache, and opens the pixels in the very file that was written."""
    try:
        with replacing(cache) as temporary, contextlib.ExitStack() as unless_kept:
            file = unless_kept.enter_context(open(temporary, "w+b"))
            with zipfile.ZipFile(file, "w") as archive:
                index = {"files": checked}
                if pixels is not None:
                    with archive.open("pixels", "w", force_zip64=True) as member:
                        index["pixels_begin"] = file.tell()
                        member.write(pixels)
                archive.writestr("index.json", json.dumps(index))
            if pixels is None:
                return None
            file.flush()
            unless_kept.pop_all()
            return _Kept(file, index["pixels_begin"], pixels.shape)
    except OSError as error:
        raise UserError(
            f"decoded pictures cannot be kept in '{cache.parent}': {error.strerror}; make it "
            f"writable, make room, or set XDG_CACHE_HOME to another folder"
        ) from error


def _key(picture: Picture) -> str:
    return os.path.abspath(picture.path)


def _fingerprint(paths: Sequence[str], size: int) -> str:
    """Names a set of files at one size, as decoded by this very version."""
    whole = "\0".join([str(_VERSION), PIL.__version__, str(size), *paths])
    return hashlib.sha256(os.fsencode(whole)).hexdigest()[:24]


def _complaint(skipped: Sequence[tuple[str, str]], total: int) -> str:
    named = ", ".join(f"{name!r} ({reason})" for name, reason in skipped[:3])
    rest = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    advice = "repair or remove them"
    if len(skipped) < total:
        advice += ", or leave them out with --bad_images=skip"
    return f"{len(skipped)} of {total} pictures cannot be decoded: {named}{rest}; {advice}"
