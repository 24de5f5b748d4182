"""The pictures of a run: found, split, checked, and ready to be asked for by position."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lib import Progress
from lib.config import Config, user_cache
from lib.data import cats_and_dogs, drawn, splits
from lib.data.leaks import find_leaks
from lib.data.listing import Picture
from lib.data.store import PictureStore, open_store


@dataclasses.dataclass(frozen=True)
class Subset:
    """The pictures of one split.

    Attributes:
        classes: their names; a label is an index into it.
        names: of the files, relative to the data set's folder.
        labels: int32 [n], indices of classes.
        rows: int64 [n], where the pictures stand in `store`.
        store: where their pixels are.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    rows: np.ndarray
    store: PictureStore

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """The pictures at these positions, uint8 [n, size, size, 3]."""
        return self.store.pixels(self.rows[positions])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The three splits of a run.

    Attributes:
        classes: their names; a label is an index into it.
        train: pictures that weights are fitted to.
        validation: pictures that choices are made by.
        test: pictures that results are quoted on.
        skipped: (name, reason) of each picture that was left out.
        leaks: pairs of names, in different splits, with the same content.
        sha256: of what is in which split under which name: another string is another data set.
    """

    classes: tuple[str, ...]
    train: Subset
    validation: Subset
    test: Subset
    skipped: tuple[tuple[str, str], ...]
    leaks: tuple[tuple[str, str], ...]
    sha256: str


def open_dataset(config: Config, progress: Progress) -> Dataset:
    """Finds or fetches the data set of a run, splits it and checks every picture.

    Raises:
        UserError: the data set cannot be had, is not laid out as expected, or holds pictures that
            cannot be decoded (unless `config.bad_images` is "skip").
    """
    chosen = splits.limited(
        splits.split_folder(_folder(config, progress), config.seed),
        config.train_limit,
        config.eval_limit,
    )
    store = _store([*chosen.train, *chosen.validation, *chosen.test], config, progress)
    chosen = splits.without(chosen, [name for name, _ in store.skipped])
    parts = {"train": chosen.train, "validation": chosen.validation, "test": chosen.test}
    digests = dict(zip(store.pictures, store.digests, strict=True))
    return Dataset(
        chosen.classes,
        **{part: _subset(chosen.classes, pictures, store) for part, pictures in parts.items()},
        skipped=store.skipped,
        leaks=tuple(find_leaks(parts, digests)),
        sha256=_fingerprint(parts, digests),
    )


def list_classes_of(config: Config, progress: Progress) -> list[str]:
    """The classes of a run's data set, which is fetched where it is missing; no picture is read.

    Raises:
        UserError: the data set cannot be had, or is not laid out as expected.
    """
    return list(splits.split_folder(_folder(config, progress), config.seed).classes)


def open_test_set(
    folder: Path, classes: Sequence[str], config: Config, progress: Progress
) -> Subset:
    """Another set of pictures of the same classes, for an evaluation.

    Raises:
        UserError: the folder does not hold these classes, or pictures that cannot be decoded.
    """
    store = _store(splits.list_set(folder, classes), config, progress)
    return _subset(classes, store.pictures, store)


def resized(subset: Subset, config: Config, progress: Progress) -> Subset:
    """The same pictures at the size of another run."""
    pictures = [subset.store.pictures[row] for row in subset.rows]
    return _subset(subset.classes, pictures, _store(pictures, config, progress))


def _folder(config: Config, progress: Progress) -> Path:
    data_dir = Path(config.data_dir)
    if config.dataset == "cats_and_dogs":
        urls = (config.dataset_url,) if config.dataset_url else cats_and_dogs.SOURCES
        return cats_and_dogs.fetch(data_dir, urls, progress)
    if config.dataset == "drawn":
        return drawn.fetch(data_dir, progress)
    return Path(config.dataset)


def _store(pictures: Sequence[Picture], config: Config, progress: Progress) -> PictureStore:
    return open_store(
        pictures,
        config.image_size,
        user_cache(),
        config.memory_mb,
        config.bad_images,
        progress,
    )


def _subset(classes: Sequence[str], pictures: Sequence[Picture], store: PictureStore) -> Subset:
    row_of = {picture: row for row, picture in enumerate(store.pictures)}
    return Subset(
        classes=tuple(classes),
        names=tuple(picture.name for picture in pictures),
        labels=np.array([picture.label for picture in pictures], np.int32),
        rows=np.array([row_of[picture] for picture in pictures], np.int64),
        store=store,
    )


def _fingerprint(parts: Mapping[str, Sequence[Picture]], digests: Mapping[Picture, str]) -> str:
    whole = hashlib.sha256()
    for part, pictures in parts.items():
        for picture in pictures:
            whole.update(f"{part}/{picture.name}\0{digests[picture]}\n".encode())
    return whole.hexdigest()
