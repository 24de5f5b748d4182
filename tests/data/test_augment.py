"""Each operation against a reference: Keras' layer, tf.image, Pillow, or a formula in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from lib.data.augment import OPERATIONS, Examples, symmetric_beta
from lib.data.geometry import Geometry, interpolated
from lib.data.randaugment import NAMES

COUNT, SIZE = 4, 32
few = settings(max_examples=20, deadline=None)
TARGETS = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])


def noise():
    return np.random.default_rng(8).integers(0, 256, (COUNT, SIZE, SIZE, 3)).astype(np.float32)


def smooth():
    """Images in which interpolation makes next to no error."""
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(3 * row + k) + np.cos(2 * column + k) for k in range(3 * COUNT)]
    images = np.stack(waves, axis=-1).reshape(SIZE, SIZE, COUNT, 3).transpose(2, 0, 1, 3)
    return np.float32(127 + 50 * images)


def done(name, numbers, images=None, targets=TARGETS, **given):
    """What an operation makes of examples where these numbers are drawn, a row for each."""
    images = noise() if images is None else images
    numbers = tf.constant(np.broadcast_to(np.float32(numbers), (COUNT, np.shape(numbers)[-1])))

    def draw(k):
        assert k <= numbers.shape[1]
        return numbers[:, :k]

    examples = Examples(tf.constant(images), tf.constant(targets))
    result = OPERATIONS[name](examples, draw, **given)
    if isinstance(result, Geometry):
        then = result.then or (lambda examples: examples)
        result = then(examples._replace(images=interpolated(examples.images, result.matrix)))
    return Examples(result.images.numpy(), result.targets.numpy())


def ends(low, high):
    """A number for each image: both ends of [0, 1), and two in between."""
    return np.float32([[low], [0.3], [0.6], [high]])


def test_flip_mirrors_where_less_than_the_probability_is_drawn():
    images = noise()
    found = done("flip", [[0.49, 0.9], [0.5, 0.9], [0.9, 0.1], [0.1, 0.1]], vertical=0.2).images
    expected = [images[0, :, ::-1], images[1], images[2, ::-1], images[3, ::-1, ::-1]]
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize(("number", "turns"), [(0.5, 0), (0.75, 1), (0.25, -1)])
def test_a_quarter_turn_moves_whole_pixels(number, turns):
    found = done("rotate", [[number]], most=0.5).images
    np.testing.assert_allclose(found, np.rot90(noise(), turns, axes=(1, 2)), atol=0.01)


def test_rotate_is_keras_rotation():
    for most, number in ((0.2, 0.9), (0.1, 0.0)):
        part = most * (2 * number - 1)
        layer = keras.layers.RandomRotation((part, part), fill_mode="reflect")
        expected = layer(smooth(), training=True)
        np.testing.assert_allclose(
            done("rotate", [[number]], smooth(), most=most).images, expected, atol=0.05
        )


def test_translate_is_keras_translation():
    layer = keras.layers.RandomTranslation((-0.125, -0.125), (0.25, 0.25), fill_mode="reflect")
    # Keras says where the image goes, and an affine where its pixels come from.
    found = done("translate", [[0.0, 0.75]], most=0.25).images
    np.testing.assert_allclose(found, layer(noise(), training=True), atol=0.01)


def test_translate_moves_by_up_to_the_given_part():
    found = done("translate", [[1.0, 0.5]], most=0.25).images
    np.testing.assert_allclose(found[:, :, :24], noise()[:, :, 8:], atol=0.01)
    np.testing.assert_allclose(found[:, :, 24:], noise()[:, :, :-9:-1], atol=0.01)  # reflected


@pytest.mark.parametrize("number", [0.0, 0.9])
def test_zoom_is_keras_zoom(number):
    factor = 0.3 * (2 * number - 1)
    layer = keras.layers.RandomZoom((factor, factor), fill_mode="reflect")
    found = done("zoom", [[number]], smooth(), most=0.3).images
    np.testing.assert_allclose(found, layer(smooth(), training=True), atol=0.05)


def test_crop_enlarges_a_box_as_tf_image_resize_does():
    numbers = [[0.25, 0.75, *[0.0] * 20]]
    found = done("crop", numbers, scale=(0.25, 0.25), ratio=(1.0, 1.0)).images
    box = noise()[:, 12:28, 4:20]
    expected = tf.image.resize(box, (SIZE, SIZE)).numpy()
    # Outside of the box there are pixels, where resize has but the box's border.
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=0.01)


def test_crop_takes_the_first_box_that_fits():
    # Of areas from nothing to all, and ratios of 1/4 to 4: all of it at 4 does not fit, a quarter
    # at 1 does.
    attempts = [0.999, 0.999, 0.25, 0.5, *[0.1] * 16]
    found = done("crop", [[0.0, 0.0, *attempts]], scale=(0.001, 1.0), ratio=(0.25, 4.0)).images
    expected = tf.image.resize(smooth()[:, :16, :16], (SIZE, SIZE)).numpy()
    found = done(
        "crop", [[0.0, 0.0, *attempts]], smooth(), scale=(0.001, 1.0), ratio=(0.25, 4.0)
    ).images
    np.testing.assert_allclose(found[:, 1:-2, 1:-2], expected[:, 1:-2, 1:-2], atol=1.0)


def test_crop_falls_back_to_the_largest_box_in_the_middle_that_is_allowed():
    found = done("crop", [[0.9] * 22], scale=(1.0, 1.0), ratio=(2.0, 2.0)).images
    expected = tf.image.resize(noise()[:, 8:24], (SIZE, SIZE)).numpy()
    np.testing.assert_allclose(found[:, 1:-1], expected[:, 1:-1], atol=0.01)


def test_color_is_that_of_tf_image():
    numbers = np.float32(
        [[0.1, 0.9, 0.2, 0.7], [0.9, 0.1, 0.8, 0.1], [0.5] * 4, [0.6, 0.3, 0.9, 1]]
    )
    most = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.5, "hue": 0.1}
    found = done("color", numbers, smooth(), **most).images
    for image, row, result in zip(smooth() / 255, numbers, found, strict=True):
        brightness, contrast, saturation, hue = (2 * row - 1) * list(most.values())
        image = tf.image.adjust_brightness(image, brightness)
        image = tf.clip_by_value(tf.image.adjust_contrast(image, 1 + contrast), 0, 1)
        image = tf.image.adjust_hue(tf.image.adjust_saturation(image, 1 + saturation), hue)
        np.testing.assert_allclose(result, 255 * image, atol=0.1)


def test_color_without_anything_to_vary_leaves_images_as_they_are():
    found = done("color", [[0.9] * 4], brightness=0, contrast=0, saturation=0, hue=0).images
    np.testing.assert_allclose(found, noise(), atol=0.01)


def test_grey_is_that_of_tf_image():
    found = done("grey", ends(0.0, 0.9), probability=0.3).images
    expected = np.repeat(tf.image.rgb_to_grayscale(noise()), 3, axis=-1)
    np.testing.assert_allclose(found[0], expected[0], atol=0.01)
    np.testing.assert_array_equal(found[1:], noise()[1:])


def test_erase_fills_a_box_whose_area_and_ratio_are_drawn():
    """torchvision's RandomErasing.get_params: w = sqrt(area * ratio), h = sqrt(area / ratio)."""
    numbers = [[0.5, 0.0, 0.4, 0.5, 0.0, *[0.0] * 18], [0, 0, 0.6, *[0.0] * 20]] * 2
    found = done("erase", numbers, scale=(0.0, 0.25), ratio=(0.5, 0.5)).images
    w, h = round(np.sqrt(128 * 0.5)), round(np.sqrt(128 / 0.5))  # 8 and 16
    left = int(0.5 * (SIZE - w + 1))
    expected = noise()
    expected[::2, :h, left : left + w] = 127.5
    np.testing.assert_array_equal(found, expected)


def test_blur_is_a_sampled_normalised_gaussian_reflected_at_the_border():
    """torchvision's _get_gaussian_kernel1d: exp(-(x / sigma)² / 2) over its sum."""
    found = done("blur", [[0.5, 0.1], [0.5, 0.9]] * 2, sigma=(0.5, 1.5)).images
    kernel = np.exp(-0.5 * np.arange(-5, 6) ** 2)  # sigma is 1, the reach three times 1.5
    kernel /= kernel.sum()
    expected = np.pad(noise(), [(0, 0), (5, 5), (5, 5), (0, 0)], "reflect")
    for axis in (1, 2):
        expected = np.apply_along_axis(np.convolve, axis, expected, kernel, "valid")
    np.testing.assert_allclose(found[::2], expected[::2], atol=0.01)
    np.testing.assert_allclose(found[1::2], noise()[1::2], atol=0.01)


PILLOW = {
    "identity": lambda image, factor: image,
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "posterize": lambda image, factor: ImageOps.posterize(image, 6),
    "solarize": lambda image, factor: ImageOps.solarize(image, 127.5),
    "autocontrast": lambda image, factor: ImageOps.autocontrast(image),
}


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("sign", [-1, 1])
def test_randaugment_has_the_enhancements_of_pillow(name, sign):
    images = np.clip(np.rint(smooth()), 0, 255)
    choice = (NAMES.index(name) + 0.5) / len(NAMES)
    found = done("randaugment", [[choice, 0.5 + sign / 4]], images, count=1, strength=0.5).images
    for image, result in zip(images, found, strict=True):
        expected = PILLOW[name](Image.fromarray(image.astype(np.uint8)), 1 + 0.45 * sign)
        np.testing.assert_allclose(result, np.asarray(expected, np.float32), atol=1.5)


def test_randaugment_has_the_geometry_of_torchvision():
    """`_augmentation_space`: shear to 0.3, translation to 150/331, rotation to 30 degrees."""
    row, column = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    images = (
        np.stack([column, row, column], axis=-1)[np.newaxis].repeat(COUNT, 0).astype(np.float32)
    )
    middle = np.s_[:, 12:20, 12:20]  # nothing comes from outside
    expected = {
        "shear_x": (column + 0.15 * row, row),
        "shear_y": (column, row + 0.15 * column),
        "translate_x": (column + SIZE * 75 / 331, row),
        "translate_y": (column, row + SIZE * 75 / 331),
        "rotate": (
            np.cos(np.pi / 12) * column - np.sin(np.pi / 12) * row,
            np.sin(np.pi / 12) * column + np.cos(np.pi / 12) * row,
        ),
    }
    for name, (x, y) in expected.items():
        choice = (NAMES.index(name) + 0.5) / len(NAMES)
        examples = Examples(tf.constant(images), tf.constant(TARGETS))
        draws = tf.constant([[choice, 0.9]] * COUNT)
        geometry = OPERATIONS["randaugment"](examples, lambda k, d=draws: d, 1, 0.5)
        found = interpolated(examples.images, geometry.matrix).numpy()
        wanted = np.stack([x, y], axis=-1)[np.newaxis].repeat(COUNT, 0)
        np.testing.assert_allclose(found[middle][..., :2], wanted[middle], atol=0.01)


@pytest.mark.parametrize("name", [*PILLOW, "rotate", "shear_x", "shear_y", "translate_x"])
def test_a_round_of_randaugment_does_one_operation_and_several_do_theirs_in_turn(name):
    """Rounds share the draws here: the second does the same to what the first has done."""
    choice = (NAMES.index(name) + 0.5) / len(NAMES)
    images = smooth()
    one = done("randaugment", [[choice, 0.9]], images, count=1, strength=0.2).images
    again = done("randaugment", [[choice, 0.9]], one, count=1, strength=0.2).images
    both = done("randaugment", [[choice, 0.9]], images, count=2, strength=0.2).images
    inside = np.s_[:, 10:22, 10:22]
    np.testing.assert_allclose(both[inside], again[inside], atol=1.0)


def test_mixup_takes_the_same_part_of_image_and_target_from_the_next_example():
    numbers = np.float32([[0.3, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.9, 0.9], [0.8, 0.6, 0]])
    found = done("mixup", numbers, alpha=0.4, probability=0.5)
    kept = symmetric_beta(tf.constant(numbers[:, :2]), 0.4).numpy()
    kept[2] = 1.0
    partners = [1, 2, 3, 0]
    for mixed, values in ((found.images, noise()), (found.targets, TARGETS)):
        part = kept.reshape(COUNT, *[1] * (values.ndim - 1))
        np.testing.assert_allclose(mixed, part * values + (1 - part) * values[partners], atol=0.01)
    np.testing.assert_array_equal(found.images[2], noise()[2])


def test_cutmix_mixes_targets_by_the_part_of_the_image_that_was_replaced():
    shades = np.float32([10, 20, 30, 40])
    images = np.broadcast_to(shades[:, None, None, None], (COUNT, SIZE, SIZE, 3)).copy()
    numbers = [[0.3, 0.1, 0.5, 0.5, 0], [0.6, 0.4, 0.0, 0.9, 0], [0.2, 0.3, 0.5, 0.5, 0.9]]
    found = done("cutmix", [*numbers, [0.1, 0.8, 0.99, 0.0, 0]], images, probability=0.5)
    replaced = np.mean(found.images[..., 0] != images[..., 0], axis=(1, 2))
    assert replaced[0] > replaced[1] > 0 == replaced[2]
    partners = TARGETS[[1, 2, 3, 0]]
    expected = TARGETS + replaced[:, None] * (partners - TARGETS)
    np.testing.assert_allclose(found.targets, expected, atol=1e-6)
    assert np.all((found.images == images) | (found.images == np.roll(images, -1, axis=0)))


def test_the_box_of_cutmix_has_the_area_and_the_centre_that_were_drawn():
    """Yun et al., 2019, algorithm 1: sides of sqrt(1 - kept), cut off at the border."""
    images = np.stack([np.full((SIZE, SIZE, 3), shade, np.float32) for shade in (0, 1, 0, 1)])
    numbers = np.float32([[0.36, 0.1, 0.5, 0.25, 0]] * COUNT)
    found = done("cutmix", numbers, images).images[0, ..., 0]
    kept = symmetric_beta(tf.constant(numbers[:, :2]), 1.0).numpy()[0]
    half = int(SIZE * np.sqrt(1 - kept)) // 2
    rows, columns = np.nonzero(found)
    assert (columns.min(), columns.max() + 1) == (max(0, 16 - half), min(SIZE, 16 + half))
    assert (rows.min(), rows.max() + 1) == (max(0, 8 - half), min(SIZE, 8 + half))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@few
@given(
    alpha=st.sampled_from([0.001, 0.05, 0.2, 1.0, 4.0, 1000.0]),
    numbers=st.lists(st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=5, max_size=5)),
)
def test_mixed_targets_sum_to_one_and_stay_probabilities(name, alpha, numbers):
    numbers = np.float32([*numbers, *[[0.0] * 5] * COUNT])[:COUNT]
    found = done(name, numbers, alpha=alpha)
    np.testing.assert_allclose(found.targets.sum(axis=1), 1.0, atol=1e-6)
    assert found.targets.min() >= 0 and found.images.min() >= 0 and found.images.max() <= 255.001
    binary = done(name, numbers, alpha=alpha, targets=TARGETS[:, :1]).targets
    np.testing.assert_allclose(binary, found.targets[:, :1], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_symmetric_beta_has_the_distribution_of_its_name(alpha):
    """Kolmogorov and Smirnov's distance from the distribution function, tf.math.betainc.

    Not at the very ends, which single precision rounds to 0 and 1.
    """
    count = 20_000
    draws = np.random.default_rng(1).random((count, 2), np.float32)
    found = symmetric_beta(tf.constant(draws), alpha).numpy()
    places = np.linspace(0.001, 0.999, 999)
    expected = tf.math.betainc(np.full(999, alpha), np.full(999, alpha), places).numpy()
    distance = np.abs(np.mean(found[:, np.newaxis] <= places, axis=0) - expected)
    assert distance.max() < 1.95 / np.sqrt(count)  # exceeded once in a thousand


@few
@given(
    alpha=st.floats(0.001, 1000),
    draws=st.tuples(*[st.floats(0, 1, exclude_max=True, width=32)] * 2),
)
def test_symmetric_beta_is_a_share_whatever_is_drawn(alpha, draws):
    (found,) = symmetric_beta(tf.constant([draws], tf.float32), alpha).numpy()
    assert 0.0 <= found <= 1.0
