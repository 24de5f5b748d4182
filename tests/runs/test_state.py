import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lib.runs.history import Epoch
from lib.runs.state import Journal, State

FLOATS = st.floats()
EPOCHS = st.builds(Epoch, st.integers(0, 99), st.text(), st.integers(0), *[FLOATS] * 7)
SECONDS = st.dictionaries(st.sampled_from(["head", "finetune"]), st.floats(0, 1e9))
JOURNALS = st.builds(Journal, st.lists(EPOCHS), SECONDS, SECONDS, st.floats(0), st.floats(0))


def epoch(number, phase="head", accuracy=0.5, loss=0.7):
    return Epoch(number, phase, 10 * number, 1e-4, 0.6, 0.5, loss, accuracy, 100.0, 2.0)


START = Epoch.untrained(0.7, 0.99)


@given(JOURNALS)
def test_a_journal_comes_back_from_text_as_it_was_nan_included(journal):
    again = Journal.from_json(journal.to_json())
    assert repr(again) == repr(journal)  # NaN equals nothing, but looks the same
    assert all(isinstance(row, Epoch) for row in again.history)


def test_the_evaluation_before_training_is_no_epoch():
    assert Journal().epochs == 0
    assert Journal([START]).epochs == 0
    assert Journal([START, epoch(1)]).epochs == 1


def test_epochs_are_counted_across_phases():
    assert Journal([START, epoch(1), epoch(2), epoch(3, "finetune")]).epochs == 3


def test_the_best_epoch_has_the_lowest_validation_loss_whatever_its_accuracy():
    rows = [START, epoch(1, loss=0.5), epoch(2, loss=0.4, accuracy=0.4), epoch(3, loss=0.45)]
    assert Journal(rows).best == rows[2]


def test_of_epochs_of_equal_loss_the_most_accurate_is_the_best():
    accuracies = [0.8, 0.9, 0.85]
    rows = [START, *(epoch(i + 1, accuracy=accuracy) for i, accuracy in enumerate(accuracies))]
    assert Journal(rows).best == rows[2]


def test_of_epochs_that_are_equal_in_both_the_first_is_the_best():
    assert Journal([START, epoch(1), epoch(2)]).best == epoch(1)


def test_the_network_before_training_is_never_the_best():
    assert Journal([START]).best is None
    assert Journal([START, epoch(1, accuracy=0.1)]).best == epoch(1, accuracy=0.1)


def test_seconds_are_summed_by_phase_and_training_also_for_the_epoch():
    journal = Journal()
    journal.spend("head", 2.0, training=True)
    journal.spend("head", 0.5, training=False)
    journal.spend("finetune", 4.0, training=True)
    assert journal.seconds == {"head": 2.5, "finetune": 4.0}
    assert journal.training_seconds == {"head": 2.0, "finetune": 4.0}
    assert journal.epoch_seconds == 6.0


def test_the_states_journal_is_a_copy_until_it_is_assigned():
    state = State()
    journal = state.journal
    journal.history.append(epoch(1))
    assert state.journal.history == []
    state.journal = journal
    assert state.journal.history == [epoch(1)]


@given(
    st.lists(st.tuples(st.floats(0, 100, width=32), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 40),
)
def test_metrics_are_means_over_examples_however_they_are_cut_into_batches(examples, cut):
    state = State()
    for part in (examples[:cut], examples[cut:]):
        losses, correct = [loss for loss, _ in part], [right for _, right in part]
        state.record(tf.constant(losses, tf.float32), tf.constant(correct, tf.bool))
    loss, accuracy = state.take_metrics()
    assert loss == pytest.approx(np.mean([loss for loss, _ in examples]))
    assert accuracy == pytest.approx(np.mean([right for _, right in examples]))


def test_taken_metrics_start_from_nothing():
    state = State()
    state.record(tf.constant([5.0]), tf.constant([True]))
    state.take_metrics()
    assert (float(state.loss_sum), int(state.correct), int(state.count)) == (0.0, 0, 0)
    state.record(tf.constant([1.0]), tf.constant([False]))
    assert state.take_metrics() == (1.0, 0.0)


def test_the_sum_of_losses_does_not_lose_small_ones():
    state = State()
    state.loss_sum.assign(1e9)
    state.record(tf.constant([0.125]), tf.constant([True]))
    assert float(state.loss_sum) == 1e9 + 0.125


def test_a_checkpoint_holds_all_of_the_state(tmp_path):
    state = State()
    state.step.assign(12)
    state.phase.assign("finetune")
    state.failed_step.assign(3)
    state.record(tf.constant([0.5, 0.25]), tf.constant([True, False]))
    state.journal = Journal([START, epoch(1)], {"head": 1.5}, {"head": 1.0}, 0.25, 3.0)
    path = tf.train.Checkpoint(state=state).write(str(tmp_path / "ckpt"))

    other = State()
    tf.train.Checkpoint(state=other).read(path).assert_consumed()
    assert int(other.step) == 12
    assert other.phase.numpy() == b"finetune"
    assert int(other.failed_step) == 3
    assert other.journal.to_json() == state.journal.to_json()
    assert other.take_metrics() == (0.375, 0.5)


def test_a_new_state_stands_before_the_first_step():
    state = State()
    assert (int(state.step), state.phase.numpy(), int(state.failed_step)) == (0, b"", -1)
    assert json.loads(state.journal.to_json())["history"] == []
    assert math.isclose(state.journal.epoch_seconds, 0.0)
