"""Real runs of the program, each made once and looked at by many tests."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*flags, fault="", **options):
    """Starts train.py; `fault` is explained in lib/system/fault_points.py."""
    command = [sys.executable, ROOT / "train.py", *map(str, flags)]
    environment = os.environ | {"THAW_FAULT": fault, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **({"cwd": ROOT} | options), env=environment, **pipes)


@dataclass(frozen=True)
class Done:
    """What a process came to."""

    code: int
    out: str
    err: str


def train(*flags, fault="", code=0, **options):
    """Runs train.py to its end, which must be that exit code."""
    process = start(*flags, fault=fault, **options)
    out, err = process.communicate()
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return Done(code, out, err)


@dataclass(frozen=True)
class Run:
    """A run and the process that made it."""

    folder: Path
    done: Done


@pytest.fixture(scope="session")
def flags(two_classes, weight_file):
    """A run of two and two epochs of six steps, the last one smaller."""
    return (
        f"--dataset={two_classes}",
        f"--weights={weight_file}",
        "--image_size=32",
        "--alpha=0.35",
        "--batch_size=4",
        "--head_epochs=2",
        "--finetune_epochs=2",
        "--head_learning_rate=0.01",
        "--finetune_learning_rate=0.0001",
        "--checkpoint_every=2",
        "--threads=2",
    )


@pytest.fixture(scope="session")
def both_phases(flags, tmp_path_factory):
    """The run that all others are compared with."""
    folder = tmp_path_factory.mktemp("runs") / "both phases"
    return Run(folder, train(*flags, f"--workdir={folder}"))
