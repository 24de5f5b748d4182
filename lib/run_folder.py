"""The folder of a run: which run lives in it, and who is at work there."""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib import faults
from lib.atomic import is_temporary
from lib.config import OF_FINETUNE, Config, differences
from lib.data.dataset import Dataset
from lib.errors import UserError
from lib.reporting.progress import say
from lib.reporting.result import write_csv, write_json
from lib.runtime import cores, provenance

CONFIG = "config.json"
_LOCK = ".lock"
_SKIPPED = "skipped.csv"
_BEFORE_CONFIG = {_LOCK, _SKIPPED}  # what a start that was killed may have left


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder where it is missing, and holds it for this process.

    The lock is the system's, so that it ends with the process, however that ends.

    Raises:
        UserError: the folder cannot be made or written, holds something else, or is in use.
    """
    with _lock_file(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"--workdir={folder} is in use by process {lock.read().strip() or '(unknown)'}:"
                " wait for it, stop it, or give another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        faults.point("locked")
        yield


def _lock_file(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir() if not is_temporary(path)}
        if CONFIG not in found and (strange := found - _BEFORE_CONFIG):
            raise UserError(
                f"--workdir={folder} is neither empty nor a run ({min(strange)} is in it):"
                " give a new or empty folder, or that of a run"
            )
        return open(folder / _LOCK, "a+")
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"--workdir={folder} is a file, or lies below one; expected a folder, or none yet"
        ) from None
    except OSError as error:
        raise UserError(
            f"--workdir={folder} cannot be written ({error.strerror}): give a folder that can be"
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

    A flag that is younger than the run had its default.

    Raises:
        UserError: the file is damaged, or of a version with other flags.
    """
    default = Config().to_json()
    try:
        found = Saved(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        flags = default | found.flags
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / CONFIG} cannot be read ({error}): restore it from a copy, or start in"
            " another --workdir"
        ) from error
    if unknown := flags.keys() - default.keys():
        raise of_another_version(
            f"{folder / CONFIG} has flags that this version does not know"
            f" ({', '.join(sorted(unknown))})",
            found.made_by,
        )
    return dataclasses.replace(found, flags=flags)


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
        raise UserError(f"--workdir={folder} holds no run; give the folder of one, or train first")
    return found


def continued(folder: Path, config: Config, before: Saved | None) -> Config:
    """The configuration to go on with: that asked for, if it is that of the run in the folder.

    The number of threads is the run's own where none is asked for. Results depend on it, and on
    machine and packages, in their last bits, so a change of these is allowed and said.

    Args:
        folder: of the run.
        config: what is asked for.
        before: the run at its last start; None for a new one.

    Raises:
        UserError: another run lives in the folder.
    """
    if before is None:
        return dataclasses.replace(config, threads=config.threads or cores())
    config = dataclasses.replace(config, threads=config.threads or before.flags["threads"])
    asked = config.to_json()
    # Flags of fine-tuning may change until it begins; whether it has, the checkpoint will tell.
    require_same(
        folder,
        before.flags,
        {name: value for name, value in asked.items() if name not in OF_FINETUNE},
    )
    now = provenance() | {"threads": config.threads}
    then = before.made_by | {"threads": before.flags["threads"]}
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
            f"--workdir={folder} holds another run, which differs in {listed}:"
            " give the flags it was started with, or another --workdir"
        )


def report_findings(folder: Path, dataset: Dataset) -> None:
    """Says what there is to train on, and what is wrong with it."""
    say(
        f"{len(dataset.train)} training, {len(dataset.validation)} validation and"
        f" {len(dataset.test)} test pictures of {', '.join(dataset.classes)}"
    )
    for one, other in dataset.leaks:
        say(f"warning: {one} and {other} are the same picture, in different splits")
    if dataset.skipped:  # Else a list stays: that these are the run's pictures is not known yet.
        report_skipped(folder, dataset.skipped)


def report_skipped(folder: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Lists pictures that were left out, and why, in a folder's `skipped.csv`, and says so.

    Args:
        folder: of what they were left out of.
        skipped: (name, reason) of each; where there is none, a list of earlier ones goes.
    """
    path = folder / _SKIPPED
    if skipped:
        write_csv(path, ("file", "reason"), skipped)
        say(f"warning: pictures left out: {len(skipped)}; see {path}")
    else:
        path.unlink(missing_ok=True)
