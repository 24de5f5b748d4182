import numpy as np
import pytest
import tensorflow as tf

from lib.config import Phase
from lib.errors import UserError
from lib.training.feed import Batch
from lib.training.views import ViewFeed

EXAMPLES, BATCH, EPOCH, CHANNELS = 10, 4, 3, 2


def mixed(epoch, positions):
    return np.float32((positions + 1) / (10 * (epoch + 2)))[:, np.newaxis]


class Feed:
    """A training feed whose features are (epoch, position), and which counts what it computes.

    Its targets are mixed anew in each epoch.
    """

    examples = EXAMPLES
    epoch_steps = EPOCH
    columns = 1
    feature_shape = (CHANNELS,)

    def __init__(self):
        self.computed = []

    def positions(self, step):
        epoch, batch = divmod(step, EPOCH)
        order = np.random.default_rng(epoch).permutation(EXAMPLES)
        return order[batch * BATCH : (batch + 1) * BATCH]

    mine = positions  # there is one worker

    def batch(self, step):
        self.computed.append(step)
        positions = self.positions(step)
        features = np.stack([np.full(len(positions), step // EPOCH), positions], axis=1)
        return Batch(
            tf.constant(features, tf.float32),
            tf.constant(mixed(step // EPOCH, positions)),
            len(positions),
        )

    def batches(self, first, last):
        return map(self.batch, range(first, last))


def views(feed, number=2, memory_mb=1, check_stop=lambda: None, first_epoch=0, **others):
    phase = Phase("top", views=number)
    return ViewFeed(feed, phase, first_epoch * EPOCH, memory_mb, check_stop, **others)


def epoch_of(feed, epoch):
    return list(feed.batches(epoch * EPOCH, (epoch + 1) * EPOCH))


@pytest.mark.parametrize("epoch", range(6))
def test_an_epoch_sees_each_image_as_epoch_modulo_views_did_in_an_order_of_its_own(epoch):
    feed = Feed()
    viewed = views(feed)
    for earlier in range(epoch):
        epoch_of(viewed, earlier)
    for step, batch in enumerate(epoch_of(viewed, epoch), start=epoch * EPOCH):
        positions = feed.positions(step)
        expected = np.stack([np.full(len(positions), epoch % 2), positions], axis=1)
        np.testing.assert_array_equal(batch.features, expected)
        np.testing.assert_array_equal(batch.targets, mixed(epoch % 2, positions))


def test_each_view_is_computed_once():
    feed = Feed()
    viewed = views(feed)
    for epoch in range(6):
        epoch_of(viewed, epoch)
    assert feed.computed == list(range(2 * EPOCH))


@pytest.mark.parametrize("start", [1, EPOCH, 2 * EPOCH, 2 * EPOCH + 1, 5 * EPOCH + 2])
def test_a_run_that_begins_at_any_step_sees_what_a_run_from_the_start_sees(start):
    whole, resumed = views(Feed()), views(Feed())
    for epoch in range(6):
        end = (epoch + 1) * EPOCH
        expected = list(whole.batches(epoch * EPOCH, end))
        first = max(start, epoch * EPOCH)
        found = list(resumed.batches(first, end)) if first < end else []
        for one, other in zip(found, expected[len(expected) - len(found) :], strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.targets, other.targets)


def test_computing_a_view_again_after_a_restart_can_be_stopped():
    class Asked(Exception):
        pass

    def check_stop():
        raise Asked

    with pytest.raises(Asked):
        epoch_of(views(Feed(), check_stop=check_stop), 2)


def test_features_beyond_the_budget_are_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"--top_views=2000000: .* give fewer views, or --mem"):
        views(Feed(), number=2_000_000, memory_mb=1)


@pytest.mark.parametrize("resumed", [False, True])
def test_the_views_of_a_later_phase_are_those_of_its_own_first_epochs(resumed):
    feed = Feed()
    viewed = views(feed, first_epoch=3)
    if not resumed:
        for epoch in (3, 4):
            epoch_of(viewed, epoch)
    for step, batch in enumerate(epoch_of(viewed, 5), start=5 * EPOCH):
        positions = feed.positions(step)
        np.testing.assert_array_equal(batch.features[:, 0], 3)
        np.testing.assert_array_equal(batch.targets, mixed(3, positions))
    assert feed.computed == ([9, 10, 11, 12, 13, 14] if not resumed else [9, 10, 11])
