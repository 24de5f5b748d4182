"""Whole runs of several workers, in processes of their own on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lib.distribution.cluster import Cluster
from lib.system.sockets import free_addresses
from tests.faults.program import TRAIN, Outcome, differences

# 22 images in batches of 8: of the last one's four slices, one has no image.
SMALL = (
    "--image_size=32",
    "--batch_size=8",
    "--slices=4",
    "--ema=0.9",
    "--checkpoint_every=2",
)
RECIPE = (
    *SMALL,
    "--phases=head,top,all",
    "--head_epochs=2",
    "--head_views=1",
    "--head_optimizer=adam",
    "--head_learning_rate=0.01",
    "--top_epochs=1",
    "--top_thaw=block_16",
    "--top_optimizer=adamw(weight_decay=0.05)",
    "--all_epochs=1",
    "--all_thaw=block_15",
    "--all_layer_decay=0.5",
    "--all_optimizer=rmsprop",
    "--augment=flip|mixup(0.2)|cutmix",
    "--class_weights=ants:1,bees:2",
    "--histograms",
)
PLUGIN = """
import tensorflow as tf
from lib.training.losses import LOSSES

@LOSSES.register
def brier(logits, targets):
    return tf.reduce_sum((tf.sigmoid(logits) - targets) ** 2, axis=1)
"""

_LONG = 1200  # seconds after which a test fails, on however busy a machine


class Program:
    """A command line, and processes of it."""

    def __init__(self, home, *arguments):
        self._home = home
        self._arguments = arguments

    def start(self, folder, *flags, fault="", **variables):
        command = [sys.executable, TRAIN, *self._arguments, f"--workdir={folder}", *flags]
        surroundings = os.environ | {"THAW_FAULT": fault, "XDG_CACHE_HOME": str(self._home)}
        return subprocess.Popen(
            command,
            env=surroundings | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, folder, *flags, code=0, fault=""):
        process = self.start(folder, *flags, fault=fault)
        out, err = process.communicate(timeout=_LONG)
        assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
        return out, err

    def pair(self, folder, fault="", others="", flags=()):
        """Two workers as a cluster manager starts them, each with a fault of its own."""
        places = tuple(free_addresses(2))
        return [
            self.start(folder, *more, fault=each, TF_CONFIG=Cluster(places, index).tf_config())
            for index, (each, more) in enumerate([(fault, ()), (others, flags)])
        ]


def ended(process):
    out, err = process.communicate(timeout=_LONG)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def program(tmp_path_factory, two_classes, tiny_backbone):
    home = tmp_path_factory.mktemp("cache")
    (home / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    mine = (f"--plugin={home / 'plugin.py'}", "--loss=brier")
    data = (f"--dataset={two_classes}", f"--backbone={tiny_backbone}", "--scaling=tf")
    return Program(home, *data, *mine, *RECIPE)


@pytest.fixture(scope="module")
def alone(program, tmp_path_factory):
    """The run of one worker with one thread, with which the others are compared."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    program.run(folder, "--threads=1")
    return Outcome.of(folder)


@pytest.mark.parametrize(("workers", "threads"), [(2, 2), (4, 1)])
def test_any_number_of_workers_and_threads_comes_to_the_same_bits(
    program, alone, tmp_path, workers, threads
):
    out, err = program.run(tmp_path / "run", f"--workers={workers}", f"--threads={threads}")
    assert differences(Outcome.of(tmp_path / "run"), alone) == []
    assert "[worker" not in out + err  # the chief alone says how it goes


def test_it_is_so_with_a_network_of_many_layers(tmp_path, two_classes, weight_file):
    flags = (f"--weights={weight_file}", "--alpha=0.35", "--head_epochs=1", "--finetune_epochs=1")
    program = Program(tmp_path, f"--dataset={two_classes}", *SMALL, *flags)
    program.run(tmp_path / "alone", "--threads=2")
    program.run(tmp_path / "run", "--workers=2", "--threads=1")
    assert differences(Outcome.of(tmp_path / "run"), Outcome.of(tmp_path / "alone")) == []


def test_a_run_goes_on_with_another_number_of_workers_in_the_middle_of_an_epoch(
    program, alone, tmp_path
):
    folder = tmp_path / "run"
    for workers, steps, name, code in ((1, 2, "INT", 130), (4, 3, "TERM", 143), (2, 2, "INT", 130)):
        flags = (f"--workers={workers}", "--threads=1")
        program.run(folder, *flags, fault=f"step@{steps}=SIG{name}", code=code)
        kept = json.loads((folder / "config.json").read_text())["flags"]
        assert (kept["workers"], kept["slices"]) == (workers, 4)
    program.run(folder, "--threads=2")
    assert differences(Outcome.of(folder), alone) == []


def test_workers_begin_with_another_runs_head_and_restore_their_best_epoch(tmp_path, two_classes):
    backbone = ("--backbone=mobilenet_v3_small", "--weights=none")
    program = Program(tmp_path, f"--dataset={two_classes}", *backbone, *SMALL)
    program.run(tmp_path / "base", "--phases=head", "--head_epochs=1")
    flags = (
        f"--from_run={tmp_path / 'base'}",
        "--phases=again,finetune",
        "--again_thaw=none",
        "--again_epochs=3",
        "--again_learning_rate=30",
        "--again_patience=1",
        "--again_restore_best",
        "--finetune_thaw=20%",
        "--finetune_epochs=1",
    )
    program.run(tmp_path / "alone", *flags, "--threads=2")
    program.run(tmp_path / "run", *flags, "--workers=2", "--threads=1")
    expected = Outcome.of(tmp_path / "alone")
    assert differences(Outcome.of(tmp_path / "run"), expected) == []
    rows = [dict(zip(expected.history[0], row, strict=True)) for row in expected.history[1:]]
    losses = [float(row["validation_loss"]) for row in rows if row["phase"] == "again"]
    assert min(losses) < losses[-1]  # else there was nothing to restore


@pytest.mark.parametrize(
    ("of_chief", "of_other", "codes"),
    [
        ("", "tensorflow@1=SIGKILL", (1, -9)),
        ("tensorflow@1=SIGKILL", "", (-9, 1)),
        ("", "step@3=SIGKILL", (1, -9)),
        ("step@3=SIGKILL", "", (-9, 1)),
        ("", "step@3=SIGTERM", (143, 143)),
        ("checkpoints:data@2=ENOSPC", "", (1, 1)),
    ],
    ids=[
        "a worker is killed before it joins",
        "the chief is killed before it joins",
        "a worker is killed",
        "the chief is killed",
        "a worker is stopped",
        "a disk is full",
    ],
)
def test_when_one_ends_the_others_end_with_a_line_and_the_run_goes_on(
    program, alone, tmp_path, of_chief, of_other, codes
):
    folder = tmp_path / "run"
    found = [ended(each) for each in program.pair(folder, of_chief, of_other)]
    assert tuple(code for code, _, _ in found) == codes, found
    for code, out, err in found:
        if code == 1:
            assert err.startswith("train.py: error: ") and err.count("\n") == 1, err
            assert "does not join" not in err, "who has ended is known at once"
        if code == 143:
            assert "Stopped by SIGTERM" in out + err
    if of_other == "step@3=SIGKILL":  # the kills of one process have tests of their own
        program.run(folder)
        assert differences(Outcome.of(folder), alone) == []


@pytest.mark.parametrize("fault", ["tensorflow=SIGSTOP", "step@3=SIGSTOP", "step@3=STUCK"])
def test_a_worker_that_does_not_come_on_is_noticed(program, tmp_path, fault):
    chief, other = program.pair(tmp_path / "run", others=fault)
    code, _, err = ended(chief)
    other.kill()
    other.communicate()
    assert code == 1 and err.startswith("train.py: error: ") and err.count("\n") == 1, err
    assert "does not join" not in err, "one that is frozen is noticed while TensorFlow starts, too"


def test_a_worker_with_other_flags_is_named_before_training(program, tmp_path):
    found = [ended(each) for each in program.pair(tmp_path / "run", flags=("--seed=3",))]
    for code, _, err in found:
        assert code == 1 and "it has --seed 3, the chief 0" in err
    assert not (tmp_path / "run" / "config.json").exists()


def test_killing_the_process_that_started_the_others_leaves_not_even_a_frozen_one(
    program, tmp_path
):
    process = program.start(tmp_path / "run", "--workers=2")
    deadline = time.monotonic() + _LONG
    while not (tmp_path / "run" / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    others = others_of(process.pid)
    for other in others:
        os.kill(other, signal.SIGSTOP)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ends = time.monotonic() + _LONG
    while any(map(alive, others)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert others and not any(map(alive, others))


def others_of(pid):
    """The workers that a process has started; another child of its own draws figures."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in children}
    return [each for each, command in found.items() if TRAIN.name.encode() in command]


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid):
    return state_of(pid) not in ("", "Z")


def test_the_fast_exchange_trains_too_and_is_another_run(program, alone, tmp_path):
    program.run(tmp_path / "run", "--workers=2", "--exchange=fast")
    found = Outcome.of(tmp_path / "run")
    assert found.history[0] == alone.history[0] and len(found.history) == len(alone.history)
    losses = [[float(row[4]) for row in each.history[2:]] for each in (found, alone)]
    assert np.allclose(*losses, rtol=1e-2), losses
    _, err = program.run(tmp_path / "run", "--exchange=exact", code=1)
    assert "differs in exchange (fast there, exact now)" in err
