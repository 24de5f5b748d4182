import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lib.config import Config, require_slices
from lib.errors import UserError
from lib.training.feed import Batch
from lib.training.slice_step import make_slice_step, trace_slice
from lib.training.slices import cut, tree_sum
from tests.training.test_steps import BATCH, THAWED, batch, learner_of

powers = st.integers(0, 4).map(lambda exponent: 2**exponent)


@given(powers, powers, st.integers(1, 5), st.data())
def test_each_image_of_a_batch_is_in_one_slice_of_one_worker_in_order(count, workers, size, data):
    if workers > count:
        count, workers = workers, count
    images = data.draw(st.integers(1, count * size))
    parts = [cut(count * size, count, each, workers).parts(images) for each in range(workers)]
    assert [i for mine in parts for part in mine for i in part] == list(range(images))
    # A slice is the same one whoever has it.
    assert [part for mine in parts for part in mine] == cut(count * size, count).parts(images)


def test_the_sum_is_a_tree_over_neighbours():
    add = "({0}{1})".format
    assert tree_sum("a", add) == "a"
    assert tree_sum("abcd", add) == "((ab)(cd))"
    assert tree_sum("abcdefgh", add) == "(((ab)(cd))((ef)(gh)))"
    assert tree_sum("abc", add) == "((ab)c)"  # the fourth slice has no image


@given(powers, st.integers(0, 2**32 - 1))
def test_the_sum_of_tensors_is_that_of_numpy_bit_for_bit(count, seed):
    random = np.random.default_rng(seed)
    terms = (random.normal(size=(count, 50)) * 10.0 ** random.integers(-8, 8, (count, 50))).astype(
        np.float32
    )
    found = tree_sum([tf.constant(term) for term in terms], tf.add).numpy()
    np.testing.assert_array_equal(found, tree_sum(list(terms), np.add))
    # In parts too, as workers have them.
    for workers in (1, 2, 4):
        if count % workers == 0:
            parts = [tree_sum(list(each), np.add) for each in np.split(terms, workers)]
            np.testing.assert_array_equal(tree_sum(parts, np.add), found)


def outcome(network, batch_size, slices, worker=0, workers=1, images=BATCH, thawed=THAWED):
    """What a worker's slices of a batch come to, and NumPy's copy of the gradients."""
    learner = learner_of(network, thawed, kind="auto")
    mine = cut(batch_size, slices, worker, workers)
    learner = dataclasses.replace(learner, slices=mine)
    pixels, targets = batch(count=images)
    rows = slice(mine.first, mine.first + mine.size * len(mine.mine))
    features = learner.engine.prefix(pixels)[rows]
    part = Batch(features, targets[rows], images)
    found = make_slice_step(learner, trace_slice(learner))(part, 3)
    return found, [each.numpy() for each in tf.nest.flatten(found.gradients)]


@pytest.mark.parametrize("images", [8, 5, 1])  # slices that are whole, short and empty
def test_the_slices_of_several_workers_give_the_bits_of_one_worker(network, images):
    whole, expected = outcome(network, 8, 4, images=images)
    parts = [outcome(network, 8, 4, worker, 2, images=images) for worker in range(2)]
    for name in ("logits", "targets", "losses"):
        joined = np.concatenate([getattr(found, name) for found, _ in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    with_images = [gradients for found, gradients in parts if len(found.losses)]
    assert len(with_images) == (1 if images <= 4 else 2)
    for position, gradient in enumerate(expected):
        terms = [gradients[position] for gradients in with_images]
        np.testing.assert_array_equal(tree_sum(terms, np.add), gradient)


@pytest.mark.parametrize("images", [8, 5])
def test_the_slices_of_a_batch_give_its_gradient(network, images):
    uncut, expected = outcome(network, 8, 1, images=images)
    cut_up, found = outcome(network, 8, 8, images=images)
    np.testing.assert_allclose(cut_up.losses, uncut.losses, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(expected[-2]).max())


@pytest.mark.parametrize(("slices", "batch_size"), [(3, 6), (4, 6), (16, 8), (8, 4)])
def test_slices_into_which_a_batch_cannot_be_cut_are_refused(slices, batch_size):
    with pytest.raises(UserError, match=rf"--slices={slices}: .*--batch_size={batch_size}: 1, 2"):
        require_slices(Config(slices=slices, batch_size=batch_size))
