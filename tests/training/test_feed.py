import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf

from lib.data import geometry
from lib.data.augmentation import Augmentation
from lib.data.dataset import Subset
from lib.data.order import batch_positions
from lib.model.engine import Engine
from lib.training.feed import EvaluationFeed, TrainingFeed, filled_up
from lib.training.slices import cut

COUNT, BATCH, SIZE = 11, 4, 8
STEPS = 3  # an epoch


class Store:
    """Images each of one shade, which is its row, so that they can be distinguished."""

    size = SIZE

    def __init__(self):
        self.asked = []

    def pixels(self, rows):
        self.asked.append(rows.tolist())
        shades = np.asarray(rows, np.uint8)[:, None, None, None]
        return np.broadcast_to(shades, (len(rows), SIZE, SIZE, 3)).copy()


def subset():
    # Neither rows nor labels are what positions are, so none passes for another.
    rows = np.arange(COUNT)[::-1] + 100
    names = tuple(f"{row}.png" for row in rows)
    return Subset(("a", "b", "c"), names, np.int32(rows % 3), rows, Store())


def make_engine():
    """Features that are the images themselves."""

    def prefix(images):
        return tf.cast(tf.constant(images), tf.float32)

    return Engine(prefix, tf.TensorSpec((None, SIZE, SIZE, 3)), lambda features: features)


@pytest.fixture
def engine():
    return make_engine()


def training(engine, seed=0, operations="flip|rotate(0.2)", slices=cut(BATCH, 1)):  # noqa: B008
    return TrainingFeed(subset(), engine, BATCH, seed, Augmentation(operations, seed), slices)


def compiled():
    return geometry.interpolated.experimental_get_tracing_count()


def shades(batch):
    """The rows of a batch's images: flips and rotations leave an even shade as it is."""
    return np.rint(batch.features.numpy().mean(axis=(1, 2, 3))).astype(int).tolist()


def assert_same(one, other):
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_an_epoch_shows_every_image_once_with_its_label(engine):
    batches = list(training(engine).batches(0, STEPS))
    assert sorted([shade for batch in batches for shade in shades(batch)]) == list(
        range(100, 100 + COUNT)
    )
    for batch in batches:
        assert batch.targets.numpy().argmax(axis=1).tolist() == [
            shade % 3 for shade in shades(batch)
        ]
        assert batch.targets.dtype == tf.float32
        assert batch.targets.numpy().sum(axis=1).tolist() == [1.0] * len(batch.targets)


def test_a_batch_holds_the_images_that_its_step_number_says(engine):
    feed, whole = training(engine, seed=5), subset()
    for step in (0, 2, 3, 20):
        expected = whole.rows[batch_positions(step, COUNT, BATCH, 5)]
        assert shades(feed.batch(step)) == expected.tolist()


def test_a_batch_is_a_function_of_its_step_number_alone(engine):
    backwards = {step: training(engine).batch(step) for step in reversed(range(2 * STEPS))}
    for step, batch in enumerate(training(engine).batches(0, 2 * STEPS)):
        assert_same(batch, backwards[step])


def test_starting_at_a_step_gives_what_comes_there_in_a_run_from_the_start(engine):
    whole = list(training(engine).batches(0, 2 * STEPS))
    for start in (1, STEPS, STEPS + 1):
        for one, other in zip(
            training(engine).batches(start, 2 * STEPS), whole[start:], strict=True
        ):
            assert_same(one, other)


def test_no_steps_give_no_batches(engine):
    assert list(training(engine).batches(STEPS, STEPS)) == []


def test_images_are_augmented_anew_at_each_step(engine):
    class Slope(Store):
        def pixels(self, rows):
            ramp = np.arange(SIZE, dtype=np.uint8)[None, :, None] * 20
            return np.broadcast_to(ramp, (len(rows), SIZE, SIZE, 3)).copy()

    sloping = Subset(("a", "b"), ("a.png",) * 4, np.zeros(4, np.int32), np.arange(4), Slope())
    augmentation = Augmentation("flip|rotate(0.2)", 0)
    feed = TrainingFeed(sloping, engine, BATCH, 0, augmentation, cut(BATCH, 1))
    one, other = feed.batch(0).features, feed.batch(1).features
    assert not np.allclose(one, other)
    assert not np.allclose(one[0], one[1])
    augmentation = Augmentation("flip|rotate(0.2)", 1)
    another = TrainingFeed(sloping, engine, BATCH, 1, augmentation, cut(BATCH, 1))
    another_seed = another.batch(0).features
    assert not np.allclose(another_seed, one)


def test_augmentation_is_compiled_once_with_a_smaller_last_batch_too(engine):
    training(engine).batch(0)  # tried on two small images, and traced for the full batch
    before = compiled()
    assert [len(batch.targets) for batch in training(engine).batches(0, STEPS)] == [4, 4, 3]
    assert compiled() == before


def test_the_smaller_last_batch_is_augmented_as_any_other(engine):
    feed = training(engine)
    positions = feed.positions(STEPS - 1)
    targets = np.zeros((len(positions), 3), np.float32)
    expected = Augmentation("flip|rotate(0.2)", 0)(
        feed._subset.pixels(positions), targets, STEPS - 1
    )
    np.testing.assert_array_equal(feed.batch(STEPS - 1).features, expected.images)


def test_partners_in_a_smaller_last_batch_are_real_images_with_their_own_targets(engine):
    step = STEPS - 1
    positions = training(engine, operations="").positions(step)
    batch = training(engine, operations="mixup(1.0)").batch(step)
    assert len(positions) == len(batch.targets) == 3
    own = subset().rows[positions]
    partners = own[[1, 2, 0]]  # the fourth of the batch is the first image once more
    found = batch.features.numpy().mean(axis=(1, 2, 3))
    kept = (found - partners) / (own - partners)
    assert np.all((kept >= 0) & (kept <= 1)) and not np.allclose(kept, 1)
    one_hot = np.eye(3)
    expected = kept[:, None] * one_hot[own % 3] + (1 - kept[:, None]) * one_hot[partners % 3]
    np.testing.assert_allclose(batch.targets, expected, atol=1e-4)


def test_a_batch_is_filled_up_with_its_own_images_from_the_first_one_on():
    values = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(filled_up(values, 7), values[[0, 1, 2, 0, 1, 2, 0]])
    np.testing.assert_array_equal(filled_up(values, 3), values)


def test_batches_are_computed_ahead_but_not_without_bound(engine):
    feed = training(engine)
    batches = feed.batches(0, 1000)
    next(batches)
    batches.close()
    assert 1 <= len(feed._subset.store.asked) <= 5


def test_leaving_an_epoch_early_leaves_no_thread_behind(engine):
    before = threading.active_count()
    for _ in itertools.islice(training(engine).batches(0, 1000), 2):
        pass
    batches = training(engine).batches(0, 1000)
    next(batches)
    batches.close()
    assert threading.active_count() <= before + 1


def test_an_error_in_the_feed_reaches_the_loop(engine):
    feed = training(engine)
    feed._subset.store.pixels = lambda rows: 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(feed.batches(0, STEPS))


@pytest.mark.parametrize("memory_mb", [0, 1])
def test_an_evaluation_sees_each_image_once_in_order_each_time(engine, memory_mb):
    whole = subset()
    feed = EvaluationFeed(whole, engine, BATCH, memory_mb)
    for _ in range(3):
        batches = list(feed)
        assert [len(batch.labels) for batch in batches] == [4, 4, 3]
        seen = [shade for batch in batches for shade in shades(batch)]
        assert seen == [*whole.rows.tolist(), whole.rows[8]]  # the last batch is filled up
        labels = np.concatenate([batch.labels for batch in batches])
        assert labels.tolist() == whole.labels.tolist()


def test_features_that_fit_are_computed_once(engine):
    whole = subset()
    feed = EvaluationFeed(whole, engine, BATCH, memory_mb=1)
    for _ in range(3):
        list(feed)
    assert len(whole.store.asked) == 3


def test_features_that_do_not_fit_are_computed_each_time(engine):
    whole = subset()
    feed = EvaluationFeed(whole, engine, BATCH, memory_mb=0)
    for _ in range(3):
        list(feed)
    assert len(whole.store.asked) == 9


def test_whether_features_fit_is_a_matter_of_all_of_their_bytes():
    # 11 images of 2 x 65536 floats are 5.5 MiB.
    large = tf.TensorSpec((None, 2, 256, 256))
    engine = Engine(lambda images: tf.zeros((len(images), 2, 256, 256)), large, None)
    for memory_mb, asked in ((5, 6), (6, 3)):
        whole = subset()
        feed = EvaluationFeed(whole, engine, BATCH, memory_mb)
        list(feed), list(feed)
        assert len(whole.store.asked) == asked


def test_an_evaluation_that_was_broken_off_keeps_no_half_of_the_features(engine):
    feed = EvaluationFeed(subset(), engine, BATCH, memory_mb=1)
    broken_off = iter(feed)
    next(broken_off)
    broken_off.close()
    assert sum(len(batch.labels) for batch in feed) == COUNT


@pytest.mark.parametrize("memory_mb", [1, 0])
def test_features_that_are_kept_are_computed_in_advance_and_no_others(
    engine, monkeypatch, memory_mb
):
    batches = []
    original = EvaluationFeed._batch
    monkeypatch.setattr(
        EvaluationFeed, "_batch", lambda feed, at: batches.append(at) or original(feed, at)
    )
    feed = EvaluationFeed(subset(), engine, BATCH, memory_mb)
    looks = []
    feed.prepare(lambda: looks.append(None))
    assert len(batches) == len(looks) == (-(-COUNT // BATCH) if memory_mb else 0)
    before = len(batches)
    assert sum(len(batch.labels) for batch in feed) == COUNT
    assert (len(batches) == before) == bool(memory_mb)


@pytest.mark.parametrize("memory_mb", [1, 0])
def test_features_that_are_kept_can_be_begun_and_are_computed_once(engine, memory_mb):
    whole = subset()
    feed = EvaluationFeed(whole, engine, BATCH, memory_mb)
    feed.begin()
    for _ in range(2):
        assert [len(batch.labels) for batch in feed] == [4, 4, 3]
    assert len(whole.store.asked) == (3 if memory_mb else 6)


def test_an_evaluation_of_begun_features_that_was_broken_off_begins_anew(engine):
    feed = EvaluationFeed(subset(), engine, BATCH, memory_mb=1)
    feed.begin()
    broken_off = iter(feed)
    next(broken_off)
    broken_off.close()
    assert sum(len(batch.labels) for batch in feed) == COUNT
