import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.augment import augment
from lib.randomness import Stream, uniform

SIZE = 9
few = settings(max_examples=25)
STEPS = st.integers(0, 2**40)
SEEDS = st.integers(0, 2**20)


def pictures(count, size=SIZE):
    return np.random.default_rng(8).integers(0, 256, (count, size, size, 3), np.uint8)


def augmented(batch, seed=0, step=0, rotation=0.2, first=0):
    return augment(batch, seed, step, rotation, first).numpy()


@few
@given(st.integers(1, 10), st.data(), SEEDS, STEPS)
def test_a_slice_of_a_batch_is_augmented_as_within_the_whole(count, data, seed, step):
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    batch = pictures(count)
    whole = augmented(batch, seed, step)
    np.testing.assert_array_equal(
        augmented(batch[start:end], seed, step, first=start), whole[start:end]
    )


@few
@given(SEEDS, STEPS)
def test_what_happens_to_a_picture_depends_on_seed_step_and_position(seed, step):
    batch = np.repeat(pictures(1), 4, axis=0)
    one = augmented(batch, seed, step)
    np.testing.assert_array_equal(augmented(batch, seed, step), one)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(augmented(batch, seed, step + 1), one)
    assert not np.array_equal(augmented(batch, seed + 1, step), one)


@few
@given(SEEDS, STEPS, st.sampled_from([0.0, 0.1, 0.5]))
def test_values_stay_within_those_of_the_picture(seed, step, rotation):
    batch = 50 + pictures(3) // 4
    result = augmented(batch, seed, step, rotation)
    assert result.dtype == np.float32 and result.shape == batch.shape
    assert result.min() >= 50 and result.max() <= batch.max()


def test_bytes_and_floats_are_augmented_alike():
    batch = pictures(4)
    np.testing.assert_array_equal(augmented(batch), augmented(batch.astype(np.float32)))


def test_without_rotation_about_half_of_the_pictures_are_mirrored_and_the_others_stay():
    batch = pictures(200)
    result = augmented(batch, rotation=0.0)
    same = np.isclose(result, batch, atol=0.01).all(axis=(1, 2, 3))
    mirrored = np.isclose(result, batch[:, :, ::-1], atol=0.01).all(axis=(1, 2, 3))
    assert np.all(same | mirrored)
    assert 70 < mirrored.sum() < 130  # four standard deviations


def test_a_picture_is_turned_by_the_angle_that_is_drawn_up_to_the_given_part_of_a_turn():
    """A bright spot off the centre says by how much, whether mirrored or not."""
    size, radius = 65, 20
    batch = np.zeros((300, size, size, 3), np.uint8)
    batch[:, size // 2, size // 2 + radius] = 255  # to the right of the centre
    result = augmented(batch, seed=3, step=5, rotation=0.1)[..., 0]
    brightest = result.reshape(len(batch), -1).argmax(axis=1)
    y, x = np.divmod(brightest, size)
    turn = np.arctan2(y - size // 2, np.abs(x - size // 2)) / (2 * np.pi)
    right = x > size // 2
    assert np.abs(turn).max() <= 0.1 + 0.01
    assert turn.max() > 0.08 and turn.min() < -0.08
    assert 0.3 < right.mean() < 0.7
    draws = uniform([300, 2], 3, Stream.AUGMENTATION, 5).numpy()
    np.testing.assert_allclose(np.abs(turn), np.abs(2 * draws[:, 1] - 1) * 0.1, atol=0.01)


def test_the_centre_stays_where_it_is():
    batch = np.zeros((50, SIZE, SIZE, 3), np.uint8)
    batch[:, SIZE // 2, SIZE // 2] = 255
    result = augmented(batch, rotation=0.5)
    np.testing.assert_allclose(result[:, SIZE // 2, SIZE // 2], 255, atol=0.1)


def test_what_comes_in_from_outside_is_the_reflected_picture_and_not_black():
    batch = np.full((20, SIZE, SIZE, 3), 200, np.uint8)
    np.testing.assert_allclose(augmented(batch, rotation=0.5), 200, atol=0.1)
