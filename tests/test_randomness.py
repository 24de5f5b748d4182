import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lib.randomness import permutation, uniform

SEEDS = st.integers(0, 2**40)
STEPS = st.integers(0, 2**40)
NAMES = st.text(max_size=9)


@given(count=st.integers(0, 500), seed=SEEDS, epoch=st.integers(0, 10_000))
def test_a_permutation_holds_each_number_once(count, seed, epoch):
    assert sorted(permutation(count, seed, epoch)) == list(range(count))


@given(seed=SEEDS, epoch=st.integers(0, 10_000))
def test_another_seed_or_epoch_gives_another_permutation(seed, epoch):
    one = permutation(100, seed, epoch).tolist()
    assert permutation(100, seed, epoch).tolist() == one
    assert permutation(100, seed, epoch + 1).tolist() != one
    assert permutation(100, seed + 1, epoch).tolist() != one
    assert seed == epoch or permutation(100, epoch, seed).tolist() != one


def test_permutations_are_the_same_on_any_machine_and_with_any_version():
    # Runs of the past must stay repeatable, so these numbers may never change.
    assert permutation(10, seed=0, epoch=0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_uniform_numbers_are_the_same_on_any_machine_and_with_any_version():
    numbers = uniform([3], seed=1, name="dropout", step=2)
    np.testing.assert_array_equal(
        numbers, np.float32([0.16305220127105713, 0.7412314414978027, 0.8858931064605713])
    )


@given(seed=SEEDS, step=STEPS, name=NAMES, other=NAMES)
def test_uniform_numbers_depend_on_seed_name_and_step(seed, step, name, other):
    one = uniform([50], seed, name, step).numpy()
    np.testing.assert_array_equal(uniform([50], seed, name, step), one)
    others = [(seed + 1, name, step), (seed, name, step + 1)]
    others += [(seed, other, step)] * (other != name)
    for key in others:
        assert not np.array_equal(uniform([50], *key), one)


@given(seed=SEEDS, step=STEPS, few=st.integers(1, 40), more=st.integers(1, 40))
def test_the_first_numbers_do_not_depend_on_how_many_are_drawn(seed, step, few, more):
    all_of_them = uniform([few + more, 2], seed, "augment/flip/0/0", step)
    np.testing.assert_array_equal(
        uniform([few, 2], seed, "augment/flip/0/0", step), all_of_them[:few]
    )


def test_uniform_numbers_fill_the_unit_interval_evenly():
    numbers = uniform([100_000], 3, "dropout", 4).numpy()
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts, _ = np.histogram(numbers, 10, (0, 1))
    assert np.all(np.abs(counts - 10_000) < 500)  # five standard deviations


@pytest.mark.parametrize("kind", [int, tf.int32.as_numpy_dtype, tf.int64.as_numpy_dtype])
def test_a_step_may_be_a_number_or_a_tensor(kind):
    step = kind(5)
    expected = uniform([4], 0, "dropout", 5)
    in_graph = tf.function(lambda s: uniform([4], 0, "dropout", s))
    np.testing.assert_array_equal(uniform([4], 0, "dropout", step), expected)
    np.testing.assert_array_equal(in_graph(step), expected)
