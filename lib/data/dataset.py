"""The images of a run: found, split, checked, and addressed by position."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.config import Config, fold_of, setting, user_cache
from lib.data import cats_and_dogs, drawn, splits
from lib.data.leaks import find_conflicts, find_leaks
from lib.data.listing import ImageFile
from lib.data.splits import Splits
from lib.data.store import ImageStore, open_store
from lib.errors import UserError
from lib.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class Subset:
    """The images of one split.

    Attributes:
        classes: their names; a label is an index into it.
        names: of the files, relative to the data set's folder.
        labels: int32 [n], indices of classes.
        rows: int64 [n], where the images are in `store`.
        store: where their pixels are.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    rows: np.ndarray
    store: ImageStore

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each file, as hexadecimal digits."""
        return [self.store.digests[row] for row in self.rows]

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """The images at these positions, uint8 [n, size, size, 3]."""
        return self.store.pixels(self.rows[positions])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three splits of a run.

    Attributes:
        classes: their names; a label is an index into it.
        train: images that weights are fitted to.
        validation: images that choices are made by.
        test: images that results are quoted on.
        skipped: (name, reason) of each image that was left out.
        leaks: pairs of names, in different splits, with the same content.
        sha256: of `listed`: another string is another data set.
        conflicts: pairs of names, in one split but in different classes, with the same content.
        note: how the folder was read, on one line; empty where it goes without saying.
    """

    classes: tuple[str, ...]
    train: Subset
    validation: Subset
    test: Subset
    skipped: tuple[tuple[str, str], ...]
    leaks: tuple[tuple[str, str], ...]
    sha256: str
    conflicts: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def listed(self) -> list[tuple[str, str, str]]:
        """(split, name, SHA-256 of the file) of each image, in order."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return [
            (part, name, digest)
            for part, subset in parts.items()
            for name, digest in zip(subset.names, subset.digests, strict=True)
        ]


def require_outside(config: Config) -> None:
    """Makes sure that the folder of a run is not inside of its data set, where it would be a class.

    Raises:
        UserError: it is.
    """
    data_dir = Path(config.data_dir)
    if config.dataset == "cats_and_dogs":
        folder, flag = cats_and_dogs.folder_in(data_dir), setting("data_dir", data_dir)
    elif config.dataset == "drawn":
        folder, flag = drawn.folder_in(data_dir), setting("data_dir", data_dir)
    else:
        folder, flag = Path(config.dataset), setting("dataset", config.dataset)
    if Path(os.path.realpath(config.workdir)).is_relative_to(os.path.realpath(folder)):
        raise UserError(
            f"{setting('workdir', config.workdir)} is inside of the data set, {flag}, and would be"
            f" taken for images; give a {setting('workdir')} outside of it"
        )


def open_dataset(config: Config, progress: Progress) -> Dataset:
    """Finds or fetches the data set of a run, checks its images and splits the good ones.

    Raises:
        UserError: the data set cannot be obtained, is not laid out as expected, or holds images
            that cannot be decoded (unless `config.bad_images` is "skip").
    """
    listing = splits.list_folder(_folder(config, progress))
    chosen, store = _choose(listing, config, progress)
    parts = {"train": chosen.train, "validation": chosen.validation, "test": chosen.test}
    digests = dict(zip(store.images, store.digests, strict=True))
    return Dataset(
        chosen.classes,
        **{part: _subset(chosen.classes, images, store) for part, images in parts.items()},
        skipped=store.skipped,
        leaks=tuple(find_leaks(parts, digests)),
        sha256=fingerprint((part, p.name, digests[p]) for part in parts for p in parts[part]),
        conflicts=tuple(find_conflicts(parts.values(), digests)),
        note="; ".join(filter(None, [listing.layout.note, _fold_note(config.fold)])),
    )


def list_classes_of(config: Config, progress: Progress) -> list[str]:
    """The classes of a run's data set, which is fetched where it is missing; no image is read.

    Raises:
        UserError: the data set cannot be obtained, or is not laid out as expected.
    """
    return list(list_splits_of(config, progress).classes)


def list_splits_of(config: Config, progress: Progress) -> Splits:
    """The splits of a run's data set where no image is bad; none is read.

    Raises:
        UserError: the data set cannot be obtained, or is not laid out as expected.
    """
    found = splits.split_folder(_folder(config, progress), config.seed)
    if fold := fold_of(config.fold):
        return splits.folded(splits.limited(found, config.train_limit, None), fold)
    return splits.limited(found, config.train_limit, config.eval_limit)


def open_test_set(
    folder: Path, classes: Sequence[str], config: Config, progress: Progress
) -> Subset:
    """Another set of images of the same classes, for an evaluation.

    Raises:
        UserError: the folder does not hold these classes, or images that cannot be decoded.
    """
    store = _store(splits.list_set(folder, classes), config, progress)
    return _subset(classes, store.images, store)


def resized(subset: Subset, config: Config, progress: Progress) -> Subset:
    """The same images at the size of another run."""
    images = [subset.store.images[row] for row in subset.rows]
    return _subset(subset.classes, images, _store(images, config, progress))


def _fold_note(text: str | None) -> str:
    if not (fold := fold_of(text)):
        return ""
    return (
        f"Fold {fold[0]} of {fold[1]} of the training images validates and the others train; the"
        " validation set is left out"
    )


def _folder(config: Config, progress: Progress) -> Path:
    data_dir = Path(config.data_dir)
    if config.dataset == "cats_and_dogs":
        urls = (config.dataset_url,) if config.dataset_url else cats_and_dogs.SOURCES
        return cats_and_dogs.fetch(data_dir, urls, progress)
    if config.dataset == "drawn":
        return drawn.fetch(data_dir, progress)
    return Path(config.dataset)


def _choose(
    listing: splits.Listing, config: Config, progress: Progress
) -> tuple[Splits, ImageStore]:
    """Splits the images that can be decoded, and checks no more of them than are asked for.

    Which images are good is known once they were decoded, and which of them are asked for once
    they are split: so a split is tried with all that are not known to be bad, and where some turn
    out to be, tried again without these. Without limits the second attempt is the last. With limits
    each bad image is replaced by the next of its class; only these are read.

    Returns:
        The splits, and a store of their images that has skipped every bad one met on the way.
    """
    store, sound, bad = None, frozenset(), []
    while True:
        chosen = splits.limited(
            splits.split(listing, config.seed, bad), config.train_limit, config.eval_limit
        )
        if fold := fold_of(config.fold):
            chosen = splits.limited(splits.folded(chosen, fold), None, config.eval_limit)
        wanted = [*chosen.train, *chosen.validation, *chosen.test]
        if store is not None and sound.issuperset(wanted):
            return chosen, store
        store = _store([*wanted, *bad], config, progress)
        sound = frozenset(store.images)
        bad = [image for image in [*wanted, *bad] if image not in sound]


def _store(images: Sequence[ImageFile], config: Config, progress: Progress) -> ImageStore:
    return open_store(
        images,
        config.source_size_in_use,
        user_cache(),
        config.cache_mb,
        config.bad_images,
        progress,
    )


def _subset(classes: Sequence[str], images: Sequence[ImageFile], store: ImageStore) -> Subset:
    row_of = {image: row for row, image in enumerate(store.images)}
    return Subset(
        classes=tuple(classes),
        names=tuple(image.name for image in images),
        labels=np.array([image.label for image in images], np.int32),
        rows=np.array([row_of[image] for image in images], np.int64),
        store=store,
    )


def fingerprint(listed: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256, as hexadecimal digits, of what is in which split: see `Dataset.listed`."""
    whole = hashlib.sha256()
    for part, name, digest in listed:
        whole.update(f"{part}/{name}\0{digest}\n".encode())
    return whole.hexdigest()
