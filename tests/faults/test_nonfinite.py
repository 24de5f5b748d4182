"""Numbers that are none never reach a checkpoint."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.faults.program import history


def test_a_diverging_run_stops_and_names_step_and_phase(reference, tmp_path):
    program = reference.program.with_flags("--head_optimizer=sgd", "--head_learning_rate=1e38")
    ended = program.run(tmp_path)
    assert ended.code == 1
    assert ended.stderr.count("\n") == 1
    assert "became infinite or not a number at step " in ended.stderr
    assert "(phase head, learning rate 1e+38)" in ended.stderr
    saved = [path.with_suffix("") for path in tmp_path.glob("*/ckpt-*.index")]
    assert saved
    for path in saved:
        reader = tf.train.load_checkpoint(str(path))
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                assert np.all(np.isfinite(reader.get_tensor(name))), f"{path}: {name}"


@pytest.fixture
def poisoned(reference, monkeypatch):
    """The program, with batches of fine-tuning that cannot be trained on: one in each epoch."""
    monkeypatch.setenv("POISONED", "4,7")
    return dataclasses.replace(reference.program, script=Path(__file__).with_name("poisoned.py"))


def test_a_batch_that_gives_no_number_stops_the_run(poisoned, tmp_path):
    ended = poisoned.run(tmp_path)
    assert ended.code == 1
    assert ended.stderr.startswith(
        "train.py: error: the loss or its gradient became infinite or not a number at step 4"
        " (phase finetune, learning rate 0.0001)"
    )
    assert ended.stderr.endswith("leave out such updates with --skip_nonfinite\n")
    # It may be left out from now on, and is counted however often the run is stopped.
    assert poisoned.with_flags("--skip_nonfinite").run(tmp_path, fault="step@4").code == -9
    said = poisoned.with_flags("--skip_nonfinite").finish(tmp_path)
    assert "Resuming at step 6" in said
    assert "updates left out: 2" in said
    assert json.loads((tmp_path / "result.json").read_text())["skipped_updates"] == 2
    assert len(history(tmp_path)) == 5
