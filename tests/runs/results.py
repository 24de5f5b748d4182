"""What is compared of two runs: all that does not depend on the clock."""

import dataclasses
import json
from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib.runs.history import read_history


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def history(folder: Path) -> list[str]:
    """The rows, the columns of time aside; as text, in which NaN equals NaN."""
    rows = read_history(folder / "history.csv")
    return [repr(dataclasses.replace(row, images_per_second=0.0, seconds=0.0)) for row in rows]


def series(folder: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """TensorBoard's curves: (split, tag) to points (step, value), as they are in the files."""
    found = {}
    for split in ("train", "validation", "test"):
        events = EventAccumulator(str(folder / "tensorboard" / split), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            points = [
                (each.step, tf.make_ndarray(each.tensor_proto)) for each in events.Tensors(tag)
            ]
            if all(value.shape == () and value.dtype.kind == "f" for _, value in points):
                found[split, tag] = [(step, float(value)) for step, value in points]
    return found


def assert_same_outcome(folder: Path, expected: Path) -> None:
    """The same weights to the last bit, the same figures, the same curves."""
    timed = ("seconds", "images_per_second", "peak_memory_mb")
    found, wanted = result(folder), result(expected)
    assert found["weights_sha256"] == wanted["weights_sha256"]
    assert {k: v for k, v in found.items() if k not in timed} == {
        k: v for k, v in wanted.items() if k not in timed
    }
    assert history(folder) == history(expected)
    assert (folder / "predictions.csv").read_bytes() == (expected / "predictions.csv").read_bytes()
    ours, theirs = series(folder), series(expected)
    for curves in (ours, theirs):
        del curves["train", "images_per_second"]
        for key in curves:
            if key[0] == "test":  # a run that was asked for in pieces has a point for each
                del curves[key][:-1]
    assert ours == theirs
