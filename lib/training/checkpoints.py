"""Checkpoints that can be trusted: TensorFlow's, each with a digest of its files beside it.

A checkpoint counts once its manifest (`ckpt-150.json`) is there, which is written last and holds
the SHA-256 of each of its files. One without is what a kill left behind, and is written anew.
"""

import hashlib
import json
import re
from pathlib import Path

import tensorflow as tf

from lib.atomic import replacing
from lib.errors import UserError
from lib.reporting.progress import say

_NAME = "ckpt"


class Checkpoints:
    """The checkpoints in a folder, numbered by training step.

    Args:
        folder: may not exist yet.
        keep: how many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int):
        self._folder = folder
        self._keep = keep

    def newest_good(self) -> Path | None:
        """The path, without suffix, of the newest checkpoint whose files are as they were written.

        Damaged ones that are newer are said and set aside under another name, so that they are
        neither used nor lost.

        Raises:
            UserError: there are checkpoints, and none is good; nothing is touched.
        """
        damaged: list[tuple[Path, str]] = []
        for path in self._finished():
            fault = _fault(path)
            if fault is None:
                for bad, reason in damaged:
                    say(f"Checkpoint {bad} cannot be used ({reason}): set aside as {_aside(bad)}")
                return path
            damaged.append((path, fault))
        if damaged:
            raise UserError(
                f"no checkpoint in {self._folder} can be used; of the newest, {damaged[0][1]};"
                " restore the folder from a copy, or start in another --workdir"
            )
        return None

    def save(self, checkpoint: tf.train.Checkpoint, step: int) -> Path:
        """Writes a checkpoint, and removes the oldest beyond the number to keep.

        Raises:
            UserError: it cannot be written; those before it are as they were.
        """
        # The manager learns which checkpoints there are from its own file, which may be damaged.
        finished = list(reversed(self._finished()))
        if finished:
            tf.compat.v1.train.update_checkpoint_state(
                str(self._folder),
                str(finished[-1]),
                [str(path) for path in finished],
                all_model_checkpoint_timestamps=[
                    _manifest(path).stat().st_mtime for path in finished
                ],
            )
        manager = tf.train.CheckpointManager(
            checkpoint, str(self._folder), self._keep, checkpoint_name=_NAME
        )
        try:
            # Files about to be replaced count for nothing until they are whole again.
            _manifest(self._folder / f"{_NAME}-{step}").unlink(missing_ok=True)
            path = Path(manager.save(checkpoint_number=step))
            digests = {file.name: _digest(file) for file in _files(path)}
            with replacing(_manifest(path)) as temporary:
                temporary.write_text(json.dumps({"sha256": digests}, indent=2) + "\n")
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"the checkpoint of step {step} cannot be written to {self._folder}"
                f" ({' '.join(str(error).split())}): make room or make it writable; the same"
                " command then goes on from the checkpoint before"
            ) from error
        for manifest in self._folder.glob(f"{_NAME}-*.json"):
            if str(manifest.with_suffix("")) not in manager.checkpoints:
                manifest.unlink()
        return path

    def _finished(self) -> list[Path]:
        """The checkpoints that have a manifest, newest first."""
        manifests = self._folder.glob(f"{_NAME}-*.json")
        return sorted((path.with_suffix("") for path in manifests), key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The training step in the name of a checkpoint."""
    return int(path.name.removeprefix(f"{_NAME}-"))


def _manifest(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _files(path: Path) -> list[Path]:
    """The files that TensorFlow wrote for a checkpoint: an index and one or more shards."""
    parts = re.compile(re.escape(path.name) + r"\.(index|data-\d+-of-\d+)")
    return sorted(file for file in path.parent.iterdir() if parts.fullmatch(file.name))


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if it is as it was written."""
    try:
        expected = json.loads(_manifest(path).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read: {error}"
    for name, digest in expected.items():
        file = path.with_name(name)
        if not file.exists():
            return f"{name} is missing"
        try:
            if _digest(file) != digest:
                return f"{name} has {file.stat().st_size:,} bytes that are not those written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _aside(path: Path) -> str:
    """Renames the files of a checkpoint and returns its new name."""
    number = 1
    while any(path.parent.glob(f"damaged-{number}-{path.name}.*")):
        number += 1
    # The manifest goes first: without it the rest counts for nothing.
    for file in [_manifest(path), *_files(path)]:
        file.rename(file.with_name(f"damaged-{number}-{file.name}"))
    return f"damaged-{number}-{path.name}"
