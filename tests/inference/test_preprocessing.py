import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.decoding import decode, resize
from lib.inference import made_up
from lib.inference.preprocessing import decoded, decoded_and_resized, resized, resized_by_matrices

FILES = made_up.files()
REFUSED = {
    "GIF, first frame smaller": b"a GIF whose first frame does not fill it",
    "GIF, turned by XMP": b"a GIF turned by XMP",
    "BMP, run lengths": b"a packed BMP",
}


def smooth_noise():
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((48, 36), Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_decoded_as_in_training_or_refused(kind):
    image, refused = decoded(tf.constant(FILES[kind]))
    assert refused.numpy() == REFUSED.get(kind, b"")
    if not refused.numpy():
        np.testing.assert_array_equal(image, np.asarray(decode(FILES[kind])))


@settings(max_examples=40)
@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_what_pillow_writes_is_decoded_as_in_training(mode, kind, width, height, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    image = Image.fromarray(pixels)
    image = (image.convert("RGB") if mode in ("1", "P") else image).convert(mode)
    try:
        data = encoded(image, kind)
    except OSError:  # a mode that this kind of file does not know
        return
    image, refused = decoded(tf.constant(data))
    assert refused.numpy() == b""
    np.testing.assert_array_equal(image, np.asarray(decode(data)))


def test_an_orientation_of_an_unusual_type_is_refused():
    block = Image.Exif()
    block.endian = "<"
    block[0x112] = 6
    short = b"\x12\x01\x03\x00\x01\x00\x00\x00"
    data = encoded(smooth_noise(), "JPEG", exif=block.tobytes())
    assert data.count(short) == 1
    data = data.replace(short, b"\x12\x01\x05\x00\x01\x00\x00\x00")  # a fraction
    assert decoded(tf.constant(data))[1].numpy() == b"EXIF with an orientation of an unusual kind"


def test_a_gif_that_ends_within_an_extension_is_refused():
    data = b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1"  # a comment of one byte, which is missing
    assert decoded(tf.constant(data))[1].numpy() == b"a GIF without an image"


def test_a_file_that_cannot_be_read_costs_the_others_nothing():
    good = [encoded(smooth_noise(), "PNG"), encoded(smooth_noise(), "BMP")]
    bad = [b"", b"hello", good[0][:100], FILES["BMP, run lengths"]]
    images, refused = decoded_and_resized(tf.constant([good[0], *bad, good[1]]), 32)
    assert [bool(reason) for reason in refused.numpy()] == [False, True, True, True, True, False]
    assert refused.numpy()[3].startswith(b"damaged")
    for image in (images[0], images[5]):
        expected = resize(smooth_noise(), 32).astype(int)
        assert np.abs(image - expected).max() <= 2
    assert not images[1:5].numpy().any()


def test_no_files_are_no_images():
    images, refused = decoded_and_resized(tf.zeros((0,), tf.string), 32)
    assert images.shape == (0, 32, 32, 3)
    assert refused.shape == (0,)


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


def test_images_of_the_right_size_are_left_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(resized(pixels, 32), pixels)
    np.testing.assert_array_equal(resized_by_matrices(pixels, 32), pixels)
