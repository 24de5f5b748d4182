"""Checkpoints that can be trusted: TensorFlow's, each with a digest of its files next to it.

A checkpoint counts once its manifest (`ckpt-150.json`) is there, which is written last and holds
the SHA-256 of each of its files. One without is what a kill left behind, and is written anew.
"""

import contextlib
import functools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

# The key of how the saved objects hang together, which has no public name.
from tensorflow.python.trackable import base as trackable

from lib.config import setting
from lib.errors import UserError, reason
from lib.system import fault_points
from lib.system.atomic import replacing
from lib.system.files import sha256_of
from lib.system.literal import literal
from lib.system.progress import say

_NAME = "ckpt"

_MANIFEST = re.compile(rf"{_NAME}-\d+\.json")
# Everything of a checkpoint: manifest, index, shards, and what TensorFlow makes on the way to them.
_PART = re.compile(rf"\.?(?P<name>{_NAME}-(?P<step>\d+))[._]")


class CachedCheckpoint(tf.train.Checkpoint):
    """A checkpoint that looks once for its variables, when it is written first.

    TensorFlow's own looks for them among all objects each time, which takes four fifths of the time
    of a save. So what it holds must not change from the first save on, only the values.
    """

    @functools.cached_property
    def _held(self) -> tuple[dict[str, tf.Variable | keras.Variable], tf.Tensor]:
        """The variables by their keys, and how the objects hang together.

        TensorFlow has no public place for either; a test holds what is written against its own.
        """
        found = self._saver._gather_serialized_tensors()[0]
        structure = found.pop(None)[trackable.OBJECT_GRAPH_PROTO_KEY]
        for each, tensors in found.items():
            if len(tensors) > 1:
                raise TypeError(f"{each!r} is saved as {list(tensors)}; expected a variable")
        return {key: each for each, tensors in found.items() for key in tensors}, structure

    def _write(self, file_prefix: str, options: tf.train.CheckpointOptions | None = None) -> str:
        """What `tf.train.CheckpointManager` calls; TensorFlow has no public place for this."""
        variables, structure = self._held
        with tf.device("CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=file_prefix,
                tensor_names=[*variables, trackable.OBJECT_GRAPH_PROTO_KEY],
                shape_and_slices=[""] * (len(variables) + 1),
                tensors=[*map(tf.convert_to_tensor, variables.values()), structure],
            )
        for callback in (options and options.experimental_write_callbacks) or ():
            callback(file_prefix)
        return file_prefix


def load_checkpoint(path: Path, **objects: Any) -> None:
    """Brings objects to what a checkpoint holds of them.

    Args:
        path: of the checkpoint, without suffix.
        **objects: by the names under which they were saved; those left out are not restored.

    Raises:
        AssertionError, ValueError, tf.errors.OpError: it is of other objects, or damaged.
    """
    with literal(path.parent) as folder:
        status = tf.train.Checkpoint(**objects).restore(str(folder / path.name)).expect_partial()
        status.assert_existing_objects_matched()


def names_in(path: Path, of: str) -> set[str]:
    """What a checkpoint holds of one of the objects that were saved in it.

    Args:
        path: of the checkpoint, without suffix.
        of: the name under which the object was saved.

    Returns:
        The names of the object's attributes.

    Raises:
        tf.errors.OpError: it is damaged.
    """
    with literal(path.parent) as folder:
        keys = [key.split("/") for key, _ in tf.train.list_variables(str(folder / path.name))]
    return {names[1] for names in keys if names[0] == of}


class Checkpoints:
    """The checkpoints in a folder, numbered by training step.

    Args:
        folder: may not exist yet.
        keep: how many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int):
        self._folder = folder
        self._keep = keep

    def exist(self) -> bool:
        """Whether there is any checkpoint that counts, good or damaged."""
        return bool(self._finished())

    def newest_good(self, set_aside: bool = True) -> Path | None:
        """The path, without suffix, of the newest checkpoint whose files are as they were written.

        Damaged ones that are newer are reported and set aside under another name, so that they are
        neither used nor lost.

        Args:
            set_aside: whether to do that; to be left out by who only reads a run and does not hold
                its folder.

        Raises:
            UserError: there are checkpoints, and none is good; nothing is touched.
        """
        damaged: list[tuple[Path, str]] = []
        finished = self._finished()
        for path in finished:
            fault = _fault(path)
            if fault is None:
                for bad, why in damaged:
                    done = f": set aside as {_aside(bad)}" if set_aside else ""
                    say(f"Checkpoint {bad} cannot be used ({why}){done}")
                return path
            damaged.append((path, fault))
        if not set_aside and self._finished() != finished:
            return self.newest_good(set_aside)  # The run goes on, and has replaced them meanwhile.
        if damaged:
            raise UserError(
                f"no checkpoint in {self._folder} can be used; of the newest, {damaged[0][1]};"
                f" restore the folder from a copy, or start in another {setting('workdir')}"
            )
        return None

    def of_step(self, step: int) -> Path:
        """The path, without suffix, of the newest checkpoint, which must be that of a step.

        Raises:
            UserError: it is gone, damaged, or of another step.
        """
        path = self.newest_good()
        if path is None or step_of(path) != step:
            raise UserError(
                f"{self._folder} does not hold the weights of step {step}, at which the best epoch"
                f" ended: restore it from a copy, or start in another {setting('workdir')}"
            )
        return path

    def save(self, checkpoint: CachedCheckpoint, step: int) -> Path:
        """Writes a checkpoint, and removes the oldest beyond the number to keep.

        Raises:
            UserError: it cannot be written; those before it are as they were, one of the same step
                included.
        """
        path = self._folder / f"{_NAME}-{step}"
        # One that is about to be replaced counts for nothing until it is whole again.
        manifest, withdrawn = _manifest(path), path.with_name(f".{path.name}.json")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fault_points.point(f"{self._folder.name}:begin")
            if manifest.exists():
                manifest.replace(withdrawn)
            with literal(self._folder) as folder:
                self._manager(checkpoint, folder).save(checkpoint_number=step)
            fault_points.point(f"{self._folder.name}:data")
            digests = {file.name: sha256_of(file) for file in _files(path)}
            if self._keep == 1:  # the one before goes: this one must survive a power cut
                for file in _files(path):
                    with open(file, "rb") as written:
                        os.fsync(written.fileno())
            with replacing(manifest) as temporary:
                temporary.write_text(json.dumps({"sha256": digests}, indent=2) + "\n")
            fault_points.point(f"{self._folder.name}:manifest")
            withdrawn.unlink(missing_ok=True)
            self._remove_superseded(step)
        except (OSError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError):  # a disk that takes nothing takes no repair
                if withdrawn.exists():
                    withdrawn.replace(manifest)
                if _fault(path) is not None:
                    self._remove(path)
            shutil.rmtree(path.with_name(f"{path.name}_temp"), ignore_errors=True)
            raise UserError(
                f"the checkpoint of step {step} cannot be written to {self._folder}"
                f" ({reason(error)}): make room or make it writable; the same command then goes on"
                " from the checkpoint before"
            ) from error
        return path

    def _manager(self, checkpoint: CachedCheckpoint, folder: Path) -> tf.train.CheckpointManager:
        """TensorFlow's manager, given the list of what is there: its own may be damaged.

        Args:
            checkpoint: what it is to write.
            folder: that of the checkpoints, as TensorFlow can read it.
        """
        finished = [str(folder / path.name) for path in reversed(self._finished())]
        if finished:
            tf.compat.v1.train.update_checkpoint_state(str(folder), finished[-1], finished)
        # It would remove the oldest before the newest has its manifest, so it keeps all.
        return tf.train.CheckpointManager(
            checkpoint, str(folder), max_to_keep=None, checkpoint_name=_NAME
        )

    def _remove_superseded(self, step: int) -> None:
        """Removes what is older than the newest to keep, and what kills have left unfinished."""
        # Later ones are of a course that was given up, say by removing checkpoints by hand.
        course = [path for path in self._finished() if step_of(path) <= step]
        kept = {path.name for path in course[: self._keep]}
        for file in list(self._folder.iterdir()):
            part = _PART.match(file.name)
            if part and part["name"] not in kept:
                self._remove(self._folder / part["name"])

    def _remove(self, path: Path) -> None:
        """Removes a checkpoint, or what there is of it."""
        _manifest(path).unlink(missing_ok=True)  # first: without it the rest counts for nothing
        for file in self._folder.iterdir():
            part = _PART.match(file.name)
            if part and part["name"] == path.name:
                shutil.rmtree(file) if file.is_dir() else file.unlink()

    def _finished(self) -> list[Path]:
        """The checkpoints that have a manifest, newest first."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(
                f"the checkpoints in {self._folder} cannot be read ({error.strerror}): make them"
                f" readable, or start in another {setting('workdir')}"
            ) from error
        manifests = [self._folder / name for name in names if _MANIFEST.fullmatch(name)]
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
            if sha256_of(file) != digest:
                return f"{name} has {file.stat().st_size:,} bytes that are not those written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def _aside(path: Path) -> str:
    """Renames the files of a checkpoint and returns its new name."""
    number = 1
    while any(path.parent.glob(f"damaged-{number}-{path.name}.*")):
        number += 1
    # The manifest goes first: without it the rest counts for nothing.
    for file in [_manifest(path), *_files(path)]:
        file.rename(file.with_name(f"damaged-{number}-{file.name}"))
    return f"damaged-{number}-{path.name}"
