import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.pictures import decode, resize
from lib.use.preprocessing import decoded, resized, resized_by_matrices

ORIENTATION = 0x112


def smooth_noise(width=48, height=36):
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation, order):
    """An EXIF block that says nothing but how the picture is turned."""
    block = Image.Exif()
    block.endian = order
    block[ORIENTATION] = orientation
    return block


def transparent():
    image = smooth_noise().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def wide_grey():
    return Image.fromarray(np.arange(48 * 36, dtype=np.uint16).reshape(36, 48) * 37)


FILES = {
    "jpeg": encoded(smooth_noise(), "JPEG"),
    "progressive jpeg": encoded(smooth_noise(), "JPEG", progressive=True),
    "grey jpeg": encoded(smooth_noise().convert("L"), "JPEG"),
    "cmyk jpeg": encoded(smooth_noise().convert("CMYK"), "JPEG"),
    "png": encoded(smooth_noise(), "PNG"),
    "palette png": encoded(smooth_noise().convert("P"), "PNG"),
    "transparent png": encoded(transparent(), "PNG"),
    "16 bit png": encoded(wide_grey(), "PNG"),
    "gif": encoded(smooth_noise().convert("P"), "GIF"),
    "bmp": encoded(smooth_noise(), "BMP"),
    "webp": encoded(smooth_noise(), "WEBP"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_decoded_as_in_training(kind):
    expected = np.asarray(decode(FILES[kind])).astype(int)
    assert np.abs(decoded(tf.constant(FILES[kind])).numpy() - expected).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_shown_upright_as_in_training(orientation, order):
    data = encoded(smooth_noise(), "JPEG", exif=exif(orientation, order))
    assert data.count(b"\x01\x12" if order == ">" else b"\x12\x01") == 1
    np.testing.assert_array_equal(decoded(tf.constant(data)), np.asarray(decode(data)))


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_resizing_is_that_of_training_but_for_pixels_halfway_between_two_levels(
    width, height, seed
):
    pixels = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    expected = resize(Image.fromarray(pixels[0]), 32).astype(int)
    for way in (resized, resized_by_matrices):
        result = way(tf.constant(pixels), 32).numpy()
        assert result.shape == (1, 32, 32, 3)
        assert (result == np.rint(result)).all()
        assert np.abs(result[0] - expected).max() <= 2  # rounded twice, in width and in height


def test_pictures_of_the_right_size_are_left_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(resized(pixels, 32), pixels)
    np.testing.assert_array_equal(resized_by_matrices(pixels, 32), pixels)
