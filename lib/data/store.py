"""Quick access to the pixels of any image: checked and decoded once, cached on disk.

Opening a store reads every file once, in parallel: hashed, decoded, resized. What was found is kept
in the cache (`lib/data/cache.py`): of each file its status, the digest of its bytes and what is
wrong with it, and the pixels of as many as fit the budget. A batch is read from there, by way of
the system's memory and not of the program's; what is not there is decoded again: the same bits.

The next start reads only the files whose status has changed. The status of a file is its size, both
of its times and its inode. The time of modification alone would not do: programs that turn images
or copy them set it back. The time of the status (ctime) cannot be set: on every POSIX system it
moves with each write, renaming, new link or change of rights. Where it or the inode changes though
the content does not (a backup made hard links; FAT and FUSE number files anew at each mount), the
digest shows, and nothing is decoded. Two cases are left: a file system without a ctime of its own
(FAT, sshfs), on which a file is changed in place and its size and time are set back; and a network
file system that hands out an old status for a few seconds.
"""

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL
from PIL import features

from lib.config import setting
from lib.data.cache import CachedSet, ImageCache, Index
from lib.data.decoding import UnreadableImage, decode, resize
from lib.data.listing import ImageFile
from lib.errors import UserError
from lib.system import fault_points
from lib.system.prefetching import prefetched
from lib.system.progress import Progress
from lib.system.runtime import cores, release_memory

# To be raised whenever the same file would give other pixels or another verdict than before.
_VERSION = 3

_THREADS = cores()

# Within the resolution of its times (2 s on FAT) a file may change without a change of its status:
# what was changed so shortly before it was read is read again at the next start.
_SETTLED_NS = 2 * 10**9


class _Checked(NamedTuple):
    """What is known of a file since it was last read."""

    status: list[int] | None
    """As of `_status`; None where the file is to be read again at the next start."""
    digest: str
    """SHA-256 of the bytes; empty if they could not be read."""
    fault: str
    """Why it is not an image; empty if it is one."""


class ImageStore:
    """Images of one size, addressed by row; made by `open_store`.

    Attributes:
        images: the sound images, in the order in which they were given; row i is images[i].
        digests: SHA-256 of each one's file, as hexadecimal digits, in the same order.
        skipped: (name, reason) of each image that was left out.
        size: the side of the images, in pixels.
        cached: of how many images the pixels are in the cache.
    """

    def __init__(
        self,
        images: Sequence[ImageFile],
        size: int,
        checked: dict[str, _Checked],
        cache: CachedSet,
    ):
        sound = [p for p in images if not checked[_key(p)].fault]
        self.images = tuple(sound)
        self.digests = tuple(checked[_key(p)].digest for p in sound)
        self.skipped = tuple(
            (p.name, checked[_key(p)].fault) for p in images if checked[_key(p)].fault
        )
        self.size = size
        self._cache = cache  # its places are in the order of `checked`
        place = {path: i for i, path in enumerate(checked)}
        self._places = np.array([place[_key(p)] for p in sound], np.intp)
        self.cached = sum(cache.index.checksums[place] is not None for place in self._places)
        self._threads = ThreadPoolExecutor(_THREADS, "decode")

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Returns the pixels of some images, from the cache or decoded now: the same bits.

        Any number of threads may ask at once.

        Args:
            rows: int [n], indices into `images`.

        Returns:
            uint8 [n, size, size, 3], the caller's own.

        Raises:
            UserError: a file that has to be decoded now has changed since the store was opened.
        """
        places = self._places[rows]
        batch, whole = self._cache.read(places)
        if whole.all():
            return batch
        lacking = np.flatnonzero(~whole)
        decoded = self._threads.map(self._decode_again, rows[lacking])
        for i, pixels in zip(lacking, decoded, strict=True):
            batch[i] = pixels
            self._cache.repair(places[i], pixels)
        return batch

    def _decode_again(self, row: int) -> np.ndarray:
        path = self.images[row].path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"'{path}' can no longer be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.digests[row]:
            raise UserError(f"'{path}' has changed since the run started; start it again")
        return resize(decode(data), self.size)


def open_store(
    images: Sequence[ImageFile],
    size: int,
    cache_dir: Path,
    cache_mb: int,
    on_bad: Literal["stop", "skip"],
    progress: Progress,
) -> ImageStore:
    """Checks every image and makes their pixels available.

    One store for all splits is best: what is cached then depends on the set of files and the size
    alone, not on the seed.

    Args:
        images: in the order in which the rows are to be numbered.
        size: the side of the square that each is resized to, in pixels.
        cache_dir: its folder `pictures/` keeps what was found; two processes may share it.
        cache_mb: budget in MiB of all that is in that folder. The pixels of as many images as
            fit are kept, in the order of their paths, and each other one is decoded whenever it is
            asked for.
        on_bad: whether images that cannot be decoded stop everything or are left out.
        progress: shows the files that have to be read, or the wait for another process that
            reads them.

    Returns:
        The store of the images that can be decoded.

    Raises:
        UserError: some images are bad and `on_bad` is "stop", or all of them are; or the cache
            cannot be written.
    """
    paths = sorted({_key(image) for image in images})
    cache = ImageCache(
        cache_dir / "pictures",
        _fingerprint(paths, size),
        len(paths),
        (size, size, 3),
        cache_mb * 2**20,
    )
    # Looked at before it is opened: an open set could not be changed by another process.
    index = cache.peek()
    opened = cache.open() if index and _is_current(cache, paths, index) else None
    if opened and opened.index != index:  # another process was quicker: to be looked at again
        opened.close()
        opened = None
    if opened is None:
        with cache.updating(progress) as opened:
            _update(opened, paths, size, progress)
    checked = {path: _Checked(*note) for path, note in zip(paths, opened.index.notes, strict=True)}
    store = ImageStore(images, size, checked, opened)
    if store.skipped and (on_bad == "stop" or not store.images):
        raise UserError(_complaint(store.skipped, len(images)))
    return store


def _is_current(cache: ImageCache, paths: Sequence[str], index: Index) -> bool:
    checked = [_Checked(*note) for note in index.notes]
    return all(map(_unchanged, paths, checked)) and cache.is_settled(
        index, [not each.fault for each in checked]
    )


def _update(opened: CachedSet, paths: Sequence[str], size: int, progress: Progress) -> None:
    """Reads the files that have changed, and those whose pixels can be kept and are not yet."""
    known = [_Checked(*note) if note else None for note in opened.index.notes]

    def check(i: int) -> _Checked:
        fault_points.point("decode")
        return _check(paths[i], size, known[i], i, opened)

    work = [
        i
        for i, path in enumerate(paths)
        if not _unchanged(path, known[i]) or (opened.lacks(i) and not known[i].fault)
    ]
    if not work:
        return
    with (
        progress("checking images", len(work), "images") as advance,
        # Closed first: an interrupt then drops the files still waiting.
        contextlib.closing(
            prefetched(check, work, results=16 * _THREADS, threads=_THREADS)
        ) as results,
    ):
        for i, result in zip(work, results, strict=True):
            opened.index.notes[i] = list(result)
            advance(1)
    release_memory()


def _check(path: str, size: int, known: _Checked | None, place: int, opened: CachedSet) -> _Checked:
    """Reads a file, and decodes it unless it is the one that is known; its pixels are kept."""
    try:
        status = _status(path)  # before the bytes: what changes in between is read again
        data = Path(path).read_bytes()
    except OSError as error:
        # It is tried again at each start, since what is in the way (a right, a network) may go
        # without leaving a trace in the file's status.
        opened.forget(place)
        return _Checked(None, "", f"cannot be read: {error.strerror}")
    _, modified, changed, _ = status
    if time.time_ns() - max(modified, changed) < _SETTLED_NS:
        status = None
    digest = hashlib.sha256(data).hexdigest()
    if known and known.digest == digest and (known.fault or not opened.lacks(place)):
        return _Checked(status, digest, known.fault)
    opened.forget(place)
    try:
        image = decode(data)
    except UnreadableImage as error:
        return _Checked(status, digest, str(error))
    if opened.keeps(place):
        opened.put(place, resize(image, size))
    return _Checked(status, digest, "")


def _status(path: str) -> list[int]:
    # Not the number of the device: network and removable disks get another at each mount.
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _unchanged(path: str, checked: _Checked | None) -> bool:
    if checked is None or checked.status is None:
        return False
    try:
        return _status(path) == checked.status
    except OSError:
        return False  # reading it will say what is wrong


def _key(image: ImageFile) -> str:
    return os.path.abspath(image.path)


def _fingerprint(paths: Sequence[str], size: int) -> str:
    """Names a set of files at one size, as decoded by this very version on this kind of machine."""
    decoder = [PIL.__version__, str(features.version("libjpeg_turbo")), platform.machine()]
    whole = "\0".join([str(_VERSION), *decoder, str(size), *paths])
    return hashlib.sha256(os.fsencode(whole)).hexdigest()[:24]


def _complaint(skipped: Sequence[tuple[str, str]], total: int) -> str:
    named = ", ".join(f"{name!r} ({reason})" for name, reason in skipped[:3])
    rest = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    advice = "repair or remove them"
    if len(skipped) < total:
        advice += f", or leave them out with {setting('bad_images', 'skip')}"
    return f"{len(skipped)} of {total} images cannot be decoded: {named}{rest}; {advice}"
