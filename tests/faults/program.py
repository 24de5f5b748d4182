"""The real program in a process of its own, and what its run leaves behind."""

import csv
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "train.py"

_BY_THE_CLOCK = {"images_per_second", "seconds"}


@dataclasses.dataclass(frozen=True)
class Program:
    """A command line of the program.

    Attributes:
        arguments: without the folder of the run.
        cache: where decoded images are kept.
        prefix: what the command begins with, to run it elsewhere than in this very surroundings.
        script: the program itself.
    """

    arguments: tuple[str, ...]
    cache: Path
    prefix: tuple[str, ...] = ()
    script: Path = TRAIN

    def with_flags(self, *flags: str) -> "Program":
        """The same, with more flags, of which the last of equals counts."""
        return dataclasses.replace(self, arguments=(*self.arguments, *flags))

    def launch(self, workdir: Path, fault: str = "", trace: Path | None = None) -> subprocess.Popen:
        """Starts it.

        Args:
            workdir: the folder of the run.
            fault: where it is to be stopped, and how; see `lib.system.fault_points`.
            trace: a file for the places it reaches.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        surroundings = os.environ | {
            "XDG_CACHE_HOME": str(self.cache),
            "TMPDIR": str(self.cache),  # where TensorFlow leaves some files when it is killed
            "THAW_FAULT": fault,
        }
        if trace:
            surroundings["THAW_TRACE"] = str(trace)
        return subprocess.Popen(
            [
                *self.prefix,
                sys.executable,
                str(self.script),
                *self.arguments,
                f"--workdir={workdir}",
            ],
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, workdir: Path, fault: str = "", trace: Path | None = None) -> "Ended":
        """Starts it, and waits for its end."""
        process = self.launch(workdir, fault, trace)
        stdout, stderr = process.communicate()
        return Ended(process.returncode, stdout, stderr)

    def finish(self, workdir: Path, trace: Path | None = None) -> str:
        """Starts it without any fault, and returns what it said until it was done."""
        ended = self.run(workdir, trace=trace)
        assert ended.code == 0, ended.stderr
        return ended.stdout


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative for a signal), and what it said."""

    code: int
    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What must not depend on how often a run was stopped.

    Attributes:
        weights_sha256: of the final weights.
        history: `history.csv` without the columns that a clock has filled.
        predictions: `predictions.csv`.
        series: of the summaries, a line each: split, tag, step, and what its value is.
    """

    weights_sha256: str
    history: tuple[tuple[str, ...], ...]
    predictions: bytes
    series: tuple[tuple[str, str, int, str], ...]

    @classmethod
    def of(cls, workdir: Path) -> "Outcome":
        """Reads it from the folder of a finished run."""
        return cls(
            json.loads((workdir / "result.json").read_text())["weights_sha256"],
            history(workdir),
            (workdir / "predictions.csv").read_bytes(),
            tuple(sorted(_series(workdir / "tensorboard"))),
        )


def history(workdir: Path) -> tuple[tuple[str, ...], ...]:
    """The rows of `history.csv` without the columns that a clock has filled."""
    with open(workdir / "history.csv", newline="") as file:
        header, *rows = csv.reader(file)
    kept = [i for i, name in enumerate(header) if name not in _BY_THE_CLOCK]
    return tuple(tuple(row[i] for i in kept) for row in [header, *rows])


def _series(folder: Path) -> Sequence[tuple[str, str, int, str]]:
    """Each point as often as it is there. A damaged file raises."""
    for path in folder.glob("*/*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                # A graph has names that depend on what the process has built before.
                same = value.tag not in _BY_THE_CLOCK and not value.tag.startswith("train_step/")
                digest = hashlib.sha256(value.tensor.SerializeToString()).hexdigest()
                yield path.parent.name, value.tag, event.step, digest[:16] if same else ""


def differences(one: Outcome, other: Outcome) -> list[str]:
    """In what two runs differ, in words; empty if they do not."""
    names = (field.name for field in dataclasses.fields(Outcome))
    return [name for name in names if getattr(one, name) != getattr(other, name)]
