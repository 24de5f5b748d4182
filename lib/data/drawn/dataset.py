"""The drawn data set: the list of its images, and drawing them into a folder."""

import io
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lib.data.drawn.subjects import draw_image
from lib.errors import UserError
from lib.system import fault_points
from lib.system.file_lock import exclusive_lock
from lib.system.progress import Progress
from lib.system.runtime import cores

NAME = "drawn_cats_and_dogs"
_JPEG_QUALITY = 90
_MOST_PROCESSES = 8  # a minute of work on two; more would spend it starting up


def folder_in(data_dir: Path) -> Path:
    """Where the drawn data set is or will be."""
    return data_dir / NAME


def fetch(data_dir: Path, progress: Progress) -> Path:
    """Returns the folder of the drawn data set in `data_dir`, drawing it where it is not there yet.

    Processes that do so at once take turns.

    Raises:
        UserError: the folder cannot be written.
    """
    root = folder_in(data_dir)
    if not root.exists():
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(data_dir / f".{NAME}.lock", progress):
                if not root.exists():
                    draw_cats_and_dogs(root, progress)
        except OSError as error:
            raise UserError(
                f"cannot draw the data set into {root}: {error.strerror}; choose a folder that can"
                " be written, with space for 50 MB"
            ) from error
    return root


def draw_cats_and_dogs(
    root: Path, progress: Progress, train: int = 2000, validation: int = 1000, seed: int = 0
) -> None:
    """Draws the data set into the new folder `root`, in the layout of `cats_and_dogs_filtered`.

    That is `train/cats/cat.0.jpg`, ..., `validation/dogs/dog.2499.jpg`. The same seed gives the
    same bytes on every machine. `root` appears in one rename once everything is in it, so that a
    killed drawing never passes for the data set.

    Args:
        root: the folder to make, in one that exists; it must not exist, or be empty.
        progress: how the work is reported.
        train: number of training images, half of them cats.
        validation: number of validation images, half of them cats; numbered after the others.
        seed: another seed gives other images.

    Raises:
        OSError: the folder cannot be written.
    """
    numbers = {"train": range(train // 2), "validation": range(train, train + validation // 2)}
    files = [
        (Path(split, f"{subject}s", f"{subject}.{number}.jpg"), subject, f"{seed}/{number}")
        for split in numbers
        for subject in ("cat", "dog")
        for number in numbers[split]
    ]
    with (
        tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary,
        progress("drawing", len(files), "images") as advance,
    ):
        unfinished = Path(temporary, root.name)
        images = jpeg_images([(subject, key) for _, subject, key in files])
        for (name, _, _), jpeg in zip(files, images, strict=True):
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_bytes(jpeg)
            advance(1)
        os.sync()  # A power cut after the rename must not leave empty images behind.
        fault_points.point("drawn")
        os.replace(unfinished, root)


def jpeg_images(images: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """Draws (subject, key) pairs, see `draw_image`, in parallel; yields JPEG files in order."""
    with ProcessPoolExecutor(
        max_workers=min(cores(), _MOST_PROCESSES),
        # A fork would copy the threads' locks of whatever else the program has started.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    ) as pool:
        yield from pool.map(_jpeg, *zip(*images, strict=True), chunksize=20)


def _end_with_parent() -> None:
    """Leaves Ctrl-C to the parent, and ends the process when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _jpeg(subject: str, key: str) -> bytes:
    file = io.BytesIO()
    draw_image(subject, key).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
