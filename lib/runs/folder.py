"""The folder of a run: its lock, its configuration, and whether it is the run asked for."""

import contextlib
import csv
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.config import Config, differences, setting
from lib.data.dataset import Dataset, fingerprint
from lib.data.listing import all_numbers
from lib.errors import UserError
from lib.system import fault_points
from lib.system.atomic import is_temporary
from lib.system.file_lock import try_lock
from lib.system.files import write_csv, write_json
from lib.system.progress import say
from lib.system.runtime import cores, provenance

CONFIG = "config.json"
_LOCK = ".lock"
_SKIPPED = "skipped.csv"
_IMAGES = "images.csv"
LEAKS = "leaks.csv"
_CONFLICTS = "conflicts.csv"
_PAIRS_SAID = 10  # of each kind; the files have all of them
# What may be there before a run has begun: a start that was killed may have left it.
_BEFORE_CONFIG = {_LOCK, _SKIPPED, LEAKS, _CONFLICTS, _IMAGES, "find_rate", "backbone.json"}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder where it is missing, and holds it for this process.

    The lock is the system's, so that it ends with the process, however that ends. Where an error
    comes before there is a run, what was made here goes again.

    Raises:
        UserError: the folder cannot be made or written, holds something else, or is in use.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with _lock_file(folder) as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise UserError(
                f"{setting('workdir', folder)} is in use by process"
                f" {lock.read().strip() or '(unknown)'}: wait for it, stop it, or give another"
                " folder"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fault_points.point("locked")
        try:
            yield
        except BaseException:
            if not (folder / CONFIG).exists():
                (folder / _LOCK).unlink(missing_ok=True)
                _remove_empty(made)
            raise


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, the innermost first, up to one that holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _lock_file(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir() if not is_temporary(path)}
        if CONFIG not in found and (strange := found - _BEFORE_CONFIG):
            raise UserError(
                f"{setting('workdir', folder)} is neither empty nor a run ({min(strange)} is in"
                " it): give a new or empty folder, or that of a run"
            )
        return open(folder / _LOCK, "a+")
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{setting('workdir', folder)} is a file, or lies below one; expected a folder, or none"
            " yet"
        ) from None
    except OSError as error:
        raise UserError(
            f"{setting('workdir', folder)} cannot be written ({error.strerror}): give a folder that"
            " can be"
        ) from error


@dataclasses.dataclass(frozen=True)
class Saved:
    """What `config.json` says: the run as it was at its last start.

    Attributes:
        flags: the configuration.
        facts: what was found at the start and makes a run what it is: classes, digests of the data
            and of the initial weights.
        made_by: versions, commit and machine type.
    """

    flags: dict[str, Any]
    facts: dict[str, Any]
    made_by: dict[str, Any]

    @property
    def config(self) -> Config:
        """The configuration."""
        return Config.from_json(self.flags)


def saved(folder: Path) -> Saved | None:
    """Reads `config.json`; None for a new run.

    A flag that was added after the run began has its default; batches were not cut before it could
    be said.

    Raises:
        UserError: the file is damaged, or of a version with other flags.
    """
    try:
        found = Saved(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        _ = found.made_by.get("commit")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / CONFIG} cannot be read ({error}): restore it from a copy, or start in"
            f" another {setting('workdir')}"
        ) from error
    try:
        flags = {"slices": 1} | found.flags
        return dataclasses.replace(found, flags=Config.from_json(flags).to_json())
    except (ValueError, TypeError) as error:
        what = f"{folder / CONFIG} has flags of another version ({error})"
        raise of_another_version(what, found.made_by) from error


def of_another_version(what: str, made_by: Mapping[str, Any]) -> UserError:
    """The error that something of a run cannot be read, as another version has written it.

    Args:
        what: it is.
        made_by: what the run was made by, see `Saved`.
    """
    commit = made_by.get("commit")
    return UserError(
        f"{what}: go on with the version that made it" + (f", commit {commit}" if commit else "")
    )


def save(folder: Path, config: Config, facts: dict[str, Any]) -> None:
    """Writes `config.json`."""
    run = Saved(config.to_json(), facts, provenance())
    write_json(folder / CONFIG, dataclasses.asdict(run))


def require_saved(folder: Path) -> Saved:
    """Reads `config.json` of a run that must be there.

    Raises:
        UserError: there is no run in the folder.
    """
    found = saved(folder)
    if found is None:
        raise UserError(
            f"{setting('workdir', folder)} holds no run; give the folder of one, or train first"
        )
    return found


def continued(folder: Path, config: Config, before: Saved | None) -> Config:
    """The configuration to go on with: that asked for, if it is that of the run in the folder.

    The number of slices is the run's own where none is asked for. Results depend on machine and
    packages in their last bits, so a change of these is a warning.

    Args:
        folder: of the run.
        config: what is asked for.
        before: the run at its last start; None for a new one.

    Raises:
        UserError: another run lives in the folder.
    """
    threads = config.threads or max(1, cores() // config.workers)
    config = dataclasses.replace(config, threads=threads)
    if before is None:
        return dataclasses.replace(config, slices=config.slices_in_use)
    config = dataclasses.replace(config, slices=config.slices or before.flags["slices"])
    # Phases may change until they begin; the checkpoint says which have.
    require_same(folder, before.flags, config.to_json())
    now, then = provenance(), before.made_by
    changes = [
        f"{name} {then.get(name)}, now {now[name]}"
        for name in sorted(now.keys() - {"commit"})
        if now[name] != then.get(name)
    ]
    if changes:
        say(
            f"warning: the run began elsewhere ({'; '.join(changes)}): its results may differ in"
            " the last bits from those of a run that stayed"
        )
    return config


def require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compares values that make a run what it is.

    Args:
        folder: of the run.
        before: what it was at its last start, by name.
        now: what is asked for or found now; names that are missing here are not compared.

    Raises:
        UserError: another run lives in the folder; what differs is listed.
    """
    found = differences(before, now)
    if found:
        listed = ", ".join(f"{name} ({old} there, {new} now)" for name, (old, new) in found.items())
        raise UserError(
            f"{setting('workdir', folder)} holds another run, which differs in {listed}:"
            f" give the flags it was started with, or another {setting('workdir')}"
        )


_LISTED = ("split", "file", "sha256")
_NAMED = 3  # of images of a kind, in a message


def list_images(folder: Path, dataset: Dataset) -> None:
    """Writes down which image is in which split, for `require_same_images`."""
    write_csv(folder / _IMAGES, _LISTED, dataset.listed)


def require_same_images(folder: Path, before: Saved, dataset: Dataset) -> None:
    """Compares the images that are there with those that the run was trained on.

    Raises:
        UserError: they differ; the message says which, and how.
    """
    if dataset.sha256 == before.facts["data_sha256"]:
        return
    require_same(folder, before.facts, {"classes": list(dataset.classes)})
    then = _images_of(folder, before)
    if then is None:
        found = f"which ones is not known, as {_IMAGES} there is missing or damaged"
    else:
        found = "; ".join(
            f"{kind}: {', '.join(map(repr, names[:_NAMED]))}"
            + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            for kind, names in _changes(then, dataset).items()
            if names
        )
    raise UserError(
        f"{setting('workdir', folder)} holds a run of other images than there are now ({found}):"
        f" restore them, or give another {setting('workdir')}"
    )


def _images_of(folder: Path, before: Saved) -> dict[str, tuple[str, str]] | None:
    """Split and digest of each image of a run, by its name; None where that is not known."""
    try:
        with open(folder / _IMAGES, encoding="utf-8", newline="") as file:
            _, *listed = [tuple(row) for row in csv.reader(file)]
        whole = fingerprint(listed) == before.facts["data_sha256"]
    except (OSError, ValueError, csv.Error):
        return None
    return {name: (part, digest) for part, name, digest in listed} if whole else None


def _changes(then: dict[str, tuple[str, str]], dataset: Dataset) -> dict[str, list[str]]:
    """The names of the images that differ, by what became of them."""
    now = {name: (part, digest) for part, name, digest in dataset.listed}
    skipped = {name for name, _ in dataset.skipped}
    both = [name for name in then if name in now]
    gone = [name for name in then if name not in now]
    return {
        "changed": [name for name in both if then[name][1] != now[name][1]],
        "no longer readable": [name for name in gone if name in skipped],
        "missing": [name for name in gone if name not in skipped],
        "new": [name for name in now if name not in then],
        "now in another split": [name for name in both if then[name][0] != now[name][0]],
    }


def report_findings(folder: Path, dataset: Dataset) -> None:
    """Says what there is to train on, and what is wrong with it."""
    if dataset.note:
        say(dataset.note)
    by_value = all_numbers(dataset.classes)
    say(
        f"{len(dataset.train)} training, {len(dataset.validation)} validation and"
        f" {len(dataset.test)} test images of {', '.join(dataset.classes)}"
        + (" (numbers, in the order of their values)" if by_value else "")
    )
    store = dataset.train.store
    if store.cached < len(store.images):
        say(
            f"{store.cached} of {len(store.images)} images are kept decoded on disk, as many as"
            f" {setting('cache_mb')} and the free space allow; the others are decoded each time"
        )
    _report_pairs(folder / LEAKS, dataset.leaks, "in different splits")
    _report_pairs(folder / _CONFLICTS, dataset.conflicts, "in different classes")
    if dataset.skipped:  # Else a list stays: that these are the run's images is not known yet.
        report_skipped(folder, dataset.skipped)


def _report_pairs(path: Path, pairs: Sequence[tuple[str, str]], where: str) -> None:
    """Warns of pairs of files that are the same image: of the first ones, and lists all."""
    if not pairs:
        return
    for one, other in pairs[:_PAIRS_SAID]:
        say(f"warning: {_on_one_line(one)} and {_on_one_line(other)} are the same image, {where}")
    write_csv(path, ("image", "the_same_image"), pairs)
    if (rest := len(pairs) - _PAIRS_SAID) > 0:
        say(f"warning: {rest} more pairs are the same image, {where}; see {path} for all")


def _on_one_line(name: str) -> str:
    return name if name.isprintable() else repr(name)


def report_skipped(folder: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Lists images that were left out, and why, in a folder's `skipped.csv`, and says so.

    Args:
        folder: of what they were left out of.
        skipped: (name, reason) of each; where there is none, a list of earlier ones goes.
    """
    path = folder / _SKIPPED
    if skipped:
        write_csv(path, ("file", "reason"), skipped)
        say(f"warning: images left out: {len(skipped)}; see {path}")
    else:
        path.unlink(missing_ok=True)
