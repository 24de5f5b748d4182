"""Numbers that are none never reach a checkpoint."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lib.model.engine import cut
from lib.model.freezing import freeze
from lib.runs.state import State
from lib.training.feed import Batch
from lib.training.learner import Learner
from lib.training.losses import cross_entropy
from lib.training.optimizers import build_optimizer
from lib.training.steps import make_train_step
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


@pytest.fixture
def head_step(network):
    """The training step of a head that takes two failures in a row but not three, and its parts."""
    variables = freeze(network, None)
    engine = cut(network, None, "plain", 2)
    state = State()
    optimizer = build_optimizer("adam", 0.01)
    learner = Learner(
        network=network,
        engine=engine,
        variables=variables,
        optimizer=optimizer,
        schedule=0.01,
        scales=[1.0, 1.0],
        averages=None,
        loss=cross_entropy,
        dropout=0.0,
        seed=0,
        patience=3,
    )
    step = make_train_step(learner, state)
    features = engine.prefix(np.zeros((4, 32, 32, 3), np.uint8))

    def take(sound: bool) -> None:
        factor = 1.0 if sound else float("nan")
        targets = tf.constant([[0.0], [1.0], [0.0], [1.0]])
        step(Batch(features * factor, targets, 4), int(state.step))

    return (
        take,
        state,
        lambda: [variable.numpy() for variable in (*variables, *optimizer.variables)],
    )


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_update_that_is_left_out_changes_nothing_but_the_counts(head_step):
    take, state, numbers = head_step
    take(True)
    before, metrics = numbers(), state.metrics()
    take(False)
    assert same(numbers(), before)
    assert state.metrics() == metrics
    assert (int(state.step), int(state.skipped), int(state.failed_step)) == (2, 1, -1)
    take(True)
    assert not same(numbers(), before)
    assert int(state.skipped_in_a_row) == 0


def test_too_many_in_a_row_end_training_at_that_step(head_step):
    take, state, numbers = head_step
    for sound in (True, False, False, True, False, False, False):
        assert int(state.failed_step) == -1
        take(sound)
    assert int(state.failed_step) == 6
    before = numbers()
    take(True)
    assert same(numbers(), before)
    assert int(state.step) == 6
