"""The cache of decoded images: files on disk, within one budget for all sets of images.

A set is two files in the cache's folder:

    NAME.pixels    uint8 [rows, height, width, 3] without a header: row i is image i
    NAME.json.gz   the index: of each image what its owner noted, and the CRC-32 of its row, null
                   where the row is not kept

The index is replaced as a whole and comes last. Rows are written in place, and only while no other
process has the set open. So whatever interrupts (a kill, a power failure, a damaged disk), a row
that is not what the index says fails its checksum and reads as one that is not kept.

Three locks, all of them the system's, so that they end with the process that holds them:

    NAME.pixels    shared, by each process that has the set open: it is then neither removed nor cut
    .NAME.lock     exclusive, by the process that brings the set up to date
    .lock          exclusive, for the moment in which room is made
"""

import contextlib
import dataclasses
import errno
import fcntl
import gzip
import json
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lib.config import setting
from lib.errors import UserError
from lib.system.atomic import is_temporary, replacing
from lib.system.file_lock import exclusive_lock, try_lock
from lib.system.progress import Progress

_SET = re.compile(r"[0-9a-f]{24}\.pixels")
# A whole set, or half of one, as earlier versions kept it.
_EARLIER = re.compile(r"\.?[0-9a-f]{24}(\.[0-9a-f]{8}\.partial)?\.zip")

_INDEX_BYTES = 128  # of an image, compressed; 65 are usual
_TOUCH_SECONDS = 60  # how exactly it is known when a set was used last


@dataclasses.dataclass(frozen=True)
class Index:
    """What a set's index says.

    Attributes:
        notes: a JSON value of each image.
        checksums: of its row; None where it is not kept.
    """

    notes: list[Any]
    checksums: list[int | None]

    def copy(self) -> "Index":
        """Another one, which later changes of this one do not reach."""
        return Index(list(self.notes), list(self.checksums))


class CachedSet:
    """A set of images whose cache is open; made by `ImageCache`.

    Attributes:
        index: what is known of the images; whoever updates the set changes it.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], index: Index):
        self.index = index
        self._rows = 0  # how many images may be kept, from the first on
        self._writable = False  # never while another process has the set open
        self._file = file
        self._shape = shape
        self._verified = [False] * len(index.checksums)
        self._touched = -math.inf
        self._touch()

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return math.prod(self._shape)

    def read(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads rows; any number of threads may do so at once.

        A checksum is computed when a row is read for the first time only: it takes longer than
        the reading.

        Args:
            places: int [n], numbers of images in the set.

        Returns:
            uint8 [n, height, width, 3] and bool [n]: whether each row is there and whole. What is
            not is undefined.
        """
        self._touch()
        batch = np.empty((len(places), *self._shape), np.uint8)
        whole = np.zeros(len(places), bool)
        descriptor, length = self._file.fileno(), self.row_bytes
        for i, (place, row) in enumerate(zip(places.tolist(), batch, strict=True)):
            checksum = self.index.checksums[place]
            if checksum is None:
                continue
            try:
                if os.preadv(descriptor, [row], place * length) != length:
                    continue
            except OSError:
                continue  # a bad block of the disk: damage like any other
            if not self._verified[place]:
                self._verified[place] = zlib.crc32(row) == checksum
            whole[i] = self._verified[place]
        return batch, whole

    def keeps(self, place: int) -> bool:
        """Whether the row of an image may be written, within `ImageCache.updating`."""
        return self._writable and place < self._rows

    def lacks(self, place: int) -> bool:
        """Whether the row of an image is not kept though it may be."""
        return self.keeps(place) and self.index.checksums[place] is None

    def put(self, place: int, pixels: np.ndarray) -> None:
        """Keeps a row that may be written; threads may do so at once with different rows.

        Args:
            place: number of the image in the set.
            pixels: uint8 [height, width, 3].

        Raises:
            UserError: the disk is full or fails.
        """
        with _explained(Path(self._file.name).parent):
            self._write(place, pixels)
        self.index.checksums[place] = zlib.crc32(pixels)

    def forget(self, place: int) -> None:
        """Keeps a row no longer."""
        self.index.checksums[place] = None

    def repair(self, place: int, pixels: np.ndarray) -> None:
        """Writes a damaged row again: the very bytes that each reader expects there."""
        if self._file.writable() and self.index.checksums[place] == zlib.crc32(pixels):
            # The caller has the pixels: where the disk is full or fails, the row stays damaged.
            with contextlib.suppress(OSError):
                self._write(place, pixels)

    def close(self) -> None:
        """Lets other processes change or remove the set."""
        self._file.close()

    def allot(self, limit: int, folder: Path) -> None:
        """Settles how many rows there may be, and claims their room; see `ImageCache`.

        Args:
            limit: how many the budget allows.
            folder: whose disk half of what is free is left alone.
        """
        held = max((i + 1 for i, c in enumerate(self.index.checksums) if c is not None), default=0)
        claimed = os.fstat(self._file.fileno()).st_blocks * 512
        room = (claimed + shutil.disk_usage(folder).free // 2) // self.row_bytes
        self._rows = min(limit, max(held, room))
        self._writable = True
        self.index.checksums[self._rows :] = [None] * (len(self.index.checksums) - self._rows)
        # Others who make room count what is claimed; it is filled later.
        os.truncate(self._file.fileno(), self._rows * self.row_bytes)

    def is_ours_alone(self) -> bool:
        """Whether no other process has the set open, and this one may write it."""
        if not self._file.writable():
            return False
        try:
            return try_lock(self._file)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def _write(self, place: int, pixels: np.ndarray) -> None:
        offset, rest = place * self.row_bytes, memoryview(np.ascontiguousarray(pixels)).cast("B")
        while rest:
            written = os.pwrite(self._file.fileno(), rest, offset)
            offset, rest = offset + written, rest[written:]

    def _touch(self) -> None:
        """Notes that the set is in use, as its file's time."""
        now = time.monotonic()
        if now - self._touched > _TOUCH_SECONDS:
            self._touched = now
            with contextlib.suppress(OSError):  # as in a cache that may only be read
                os.utime(self._file.fileno())


class ImageCache:
    """The place of one set of images in the cache.

    Args:
        folder: of all sets; two processes may share it.
        name: of the set, 24 hexadecimal digits; whatever changes the pixels changes the name.
        count: how many images the set has.
        shape: of the pixels of one image.
        budget: bytes that all sets may take together.
    """

    def __init__(self, folder: Path, name: str, count: int, shape: tuple[int, ...], budget: int):
        self._folder = folder
        self._pixels = folder / f"{name}.pixels"
        self._index = folder / f"{name}.json.gz"
        self._lock = folder / f".{name}.lock"
        self._count = count
        self._shape = shape
        self._budget = budget

    def peek(self) -> Index | None:
        """Reads the index, without opening the set; None where there is none, or a damaged one."""
        try:
            found = json.loads(gzip.decompress(self._index.read_bytes()))
            index = Index(**found)
            whole = len(index.notes) == len(index.checksums) == self._count
        except FileNotFoundError:
            return None
        except Exception:
            # Damage can make any layer of the reading raise any error. The remedy is always the
            # same, as this is only a cache: the images themselves are read again.
            return None
        return index if whole else None

    def open(self) -> CachedSet | None:
        """Opens the set; None where there is none, or a damaged one.

        Raises:
            UserError: it cannot be read, or not be locked.
        """
        with _explained(self._folder):
            try:
                file = _open(self._pixels)
            except FileNotFoundError:
                return None
            fcntl.flock(file, fcntl.LOCK_SH)
        index = self.peek()  # once locked: what it says of the rows is now true of them
        with contextlib.suppress(FileNotFoundError):
            if index and os.path.samestat(os.fstat(file.fileno()), os.stat(self._pixels)):
                return CachedSet(file, self._shape, index)
        file.close()
        return None

    def is_settled(self, index: Index, kept: list[bool]) -> bool:
        """Whether nothing is to be added or removed.

        Args:
            index: of the set.
            kept: which images it should keep, if there is room.
        """
        if not os.access(self._folder, os.W_OK):
            return True
        complete = all(c is not None for c, k in zip(index.checksums, kept, strict=True) if k)
        own = _size(self._pixels) + _size(self._index)
        return complete and own + sum(size for _, size, _ in self._others()) <= self._budget

    @contextlib.contextmanager
    def updating(self, progress: Progress) -> Iterator[CachedSet]:
        """Opens or makes the set, to be changed by this process alone; its index is saved then.

        First room is made for it: the sets that have not been used for longest go as long as the
        budget is passed, except those that are in use. What of it still does not fit is not kept;
        nor does it take more than half of what is free on the disk.

        Args:
            progress: shows the wait for another process that does the same.

        Raises:
            UserError: the cache cannot be written.
        """
        with contextlib.ExitStack() as held:
            with _explained(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive_lock(self._lock, progress))
                for leftover in self._folder.glob(f".{self._index.stem}.*"):
                    if is_temporary(leftover):
                        leftover.unlink()
                with exclusive_lock(self._folder / ".lock", progress):
                    opened = self.open()
                    before = opened and opened.index.copy()
                    opened = opened or self._made()
                    alone_in_it = opened.is_ours_alone()
                    needed = self._count * (opened.row_bytes + _INDEX_BYTES)
                    taken = self._make_room(needed if alone_in_it else _size(self._pixels))
                    if alone_in_it:
                        room = self._budget - taken - self._count * _INDEX_BYTES
                        limit = min(self._count, max(0, room) // opened.row_bytes)
                        opened.allot(limit, self._folder)
            yield opened
            if opened.index != before:
                content = gzip.compress(json.dumps(vars(opened.index)).encode(), 1)
                with _explained(self._folder), replacing(self._index) as temporary:
                    temporary.write_bytes(content)

    def _made(self) -> CachedSet:
        self._pixels.touch()  # not emptied: another process may still read it
        file = _open(self._pixels)
        fcntl.flock(file, fcntl.LOCK_SH)
        nothing = [None] * self._count
        return CachedSet(file, self._shape, Index(list(nothing), list(nothing)))

    def _make_room(self, needed: int) -> int:
        """Removes what was not used for longest, until `needed` bytes are free, where it can.

        Returns:
            The bytes that the other sets take.
        """
        others = self._others()
        taken = sum(size for _, size, _ in others)
        for _, size, path in sorted(others):
            if taken + needed <= self._budget:
                break
            if _removed(path):
                taken -= size
        return taken

    def _others(self) -> list[tuple[float, int, Path]]:
        """When each other set was used last, its size in bytes, and its file of pixels."""
        found = []
        for path in self._folder.iterdir():
            known = _SET.fullmatch(path.name) or _EARLIER.fullmatch(path.name)
            if known and path != self._pixels:
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    size = status.st_size + _size(path.with_suffix(".json.gz"))
                    found.append((status.st_mtime, size, path))
        return found


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Says of an error of the system what can be done about it.

    Raises:
        UserError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"decoded images cannot be kept in '{folder}': {error.strerror}; make it writable,"
            f" make room, give a smaller {setting('cache_mb')}, or set XDG_CACHE_HOME to another"
            " folder"
        ) from error


def _removed(path: Path) -> bool:
    """Removes a set unless it is in use, or somebody else's."""
    try:
        with open(path, "r+b") as file:
            if not try_lock(file):
                return False
            path.with_suffix(".json.gz").unlink(missing_ok=True)
            path.unlink()
            path.with_name(f".{path.stem}.lock").unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    return True


def _open(path: Path) -> BinaryIO:
    """Opens a file for reading, and for writing too where that may be."""
    try:
        return open(path, "r+b", buffering=0)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    return open(path, "rb", buffering=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
