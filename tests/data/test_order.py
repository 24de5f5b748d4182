import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from lib.data.order import batch_positions, steps_per_epoch

COUNTS = st.integers(1, 200)
BATCHES = st.integers(1, 64)
SEEDS = st.integers(0, 2**32)
EPOCHS = st.integers(0, 1000)


def epoch_of(epoch, count, batch, seed):
    """The batches of an epoch, in their order."""
    steps = steps_per_epoch(count, batch)
    return [batch_positions(epoch * steps + i, count, batch, seed) for i in range(steps)]


@given(COUNTS, BATCHES, SEEDS, EPOCHS)
def test_an_epoch_shows_every_image_exactly_once(count, batch, seed, epoch):
    positions = np.concatenate(epoch_of(epoch, count, batch, seed))
    assert sorted(positions) == list(range(count))


@given(COUNTS, BATCHES, SEEDS, EPOCHS)
def test_all_batches_are_full_but_the_last_which_is_never_empty(count, batch, seed, epoch):
    *full, last = map(len, epoch_of(epoch, count, batch, seed))
    assert all(size == batch for size in full)
    assert 1 <= last <= batch


@given(st.integers(20, 200), BATCHES, SEEDS, EPOCHS)
def test_each_epoch_has_another_order(count, batch, seed, epoch):
    one, next_one = (np.concatenate(epoch_of(e, count, batch, seed)) for e in (epoch, epoch + 1))
    assert one.tolist() != next_one.tolist()


@given(st.integers(20, 200), BATCHES, SEEDS, SEEDS)
def test_each_seed_has_another_order(count, batch, seed, other):
    assume(seed != other)
    one, another = (np.concatenate(epoch_of(0, count, batch, s)) for s in (seed, other))
    assert one.tolist() != another.tolist()


@given(COUNTS, SEEDS, EPOCHS, BATCHES, BATCHES)
def test_the_batch_size_cuts_the_order_and_does_not_change_it(count, seed, epoch, small, large):
    one, other = (np.concatenate(epoch_of(epoch, count, b, seed)) for b in (small, large))
    assert one.tolist() == other.tolist()


def test_the_steps_of_an_epoch_are_rounded_up():
    assert [steps_per_epoch(n, 32) for n in (1, 31, 32, 33, 2000)] == [1, 1, 1, 2, 63]
