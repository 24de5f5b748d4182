import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.decoding import UnreadableImage, decode, load, resize

# lib.data.decoding silences these for users; pytest would show them all the same.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

ORIENTATION = 0x0112

at_any_speed = settings(deadline=None)


def scene(width=48, height=32):
    """Smooth colours, and a corner unlike the others, so that a turn or a flip would show."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 5, y * 7, 255 - x * 2 - y * 3], axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (250, 20, 20)
    return Image.fromarray(pixels)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width, height, bits, colour_type, rows, extra=b""):
    """A PNG written by hand, for what Pillow reads but does not write."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + chunk(b"IEND", b"")


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def error_of(image, expected):
    """Mean absolute difference in grey levels."""
    assert image.mode == "RGB"
    assert image.size == expected.size
    return np.abs(np.asarray(image, int) - np.asarray(expected.convert("RGB"), int)).mean()


TWO_IN_ONE = "JPEG of a phone with a second image behind the first"
ENCODED = {
    "JPEG": encoded(scene(), "JPEG", quality=95),
    "progressive JPEG": encoded(scene(), "JPEG", quality=95, progressive=True),
    "CMYK JPEG": encoded(scene().convert("CMYK"), "JPEG", quality=95),
    TWO_IN_ONE: encoded(
        scene(), "MPO", quality=95, save_all=True, append_images=[scene().rotate(180)]
    ),
    "PNG": encoded(scene(), "PNG"),
    "palette PNG": encoded(scene().quantize(256), "PNG"),
    "GIF": encoded(scene().quantize(256), "GIF"),
    "BMP": encoded(scene(), "BMP"),
    "WebP": encoded(scene(), "WEBP", quality=95),
    "lossless WebP": encoded(scene(), "WEBP", lossless=True),
}
GREY = {
    "grey JPEG": encoded(scene().convert("L"), "JPEG", quality=95),
    "grey PNG": encoded(scene().convert("L"), "PNG"),
    "grey BMP": encoded(scene().convert("L"), "BMP"),
    "grey GIF": encoded(scene().convert("L"), "GIF"),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_every_format_is_decoded_to_the_colours_it_shows(kind):
    assert error_of(decode(ENCODED[kind]), scene()) < 4


@pytest.mark.parametrize("kind", GREY)
def test_grey_images_get_three_equal_channels(kind):
    image = decode(GREY[kind])
    assert error_of(image, scene().convert("L")) < 2
    red, green, blue = np.moveaxis(np.asarray(image), -1, 0)
    assert (red == green).all()
    assert (red == blue).all()


def test_black_and_white_images_stay_black_and_white():
    image = scene().convert("1")
    for format in ("PNG", "GIF", "BMP"):
        assert error_of(decode(encoded(image, format)), image) == 0


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(format):
    options = {"lossless": True} if format == "WEBP" else {}
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert error_of(decode(data), frames[0]) == 0


def gif_on_canvas(frame, canvas, at, **options):
    """A GIF whose only frame lies somewhere on a larger canvas; canvas and place are (x, y)."""
    data = encoded(frame, "GIF", **options)
    descriptor = struct.pack("<cHHHH", b",", 0, 0, *frame.size)
    assert data.count(descriptor) == 1
    data = data.replace(descriptor, struct.pack("<cHHHH", b",", *at, *frame.size))
    return data[:6] + struct.pack("<HH", *canvas) + data[10:]


@pytest.mark.parametrize("at", [(0, 0), (1, 2), (3, 2)])
@pytest.mark.parametrize("options", [{}, {"transparency": 1}, {"interlace": False}])
def test_what_a_gif_frame_leaves_open_of_its_canvas_is_white(at, options):
    frame = Image.new("P", (2, 3), 0)
    frame.putpalette([10, 20, 30, 200, 0, 0])
    frame.putpixel((1, 1), 1)
    pixels = np.asarray(decode(gif_on_canvas(frame, (5, 5), at, **options)))
    expected = np.full((5, 5, 3), 255)
    expected[at[1] : at[1] + 3, at[0] : at[0] + 2] = (10, 20, 30)
    expected[at[1] + 1, at[0] + 1] = (255,) * 3 if "transparency" in options else (200, 0, 0)
    assert pixels.tolist() == expected.tolist()


def test_a_grey_gif_frame_on_a_larger_canvas_lies_on_white_too():
    pixels = np.asarray(decode(gif_on_canvas(Image.new("L", (1, 1), 7), (2, 1), (1, 0))))
    assert pixels.tolist() == [[[255] * 3, [7] * 3]]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparent_parts_are_laid_on_white(format):
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 51))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    pixels = np.asarray(decode(encoded(image, format, **options)))
    assert pixels.tolist() == [[[255, 255, 255], [255, 204, 204]]]


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_a_transparent_colour_without_alpha_channel_is_laid_on_white(mode):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), 1 if mode != "1" else 255)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 20, 30])
    pixels = np.asarray(decode(encoded(image, "PNG", transparency=0)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == {"P": [10, 20, 30], "L": [1, 1, 1], "1": [255] * 3}[mode]


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    pixels = np.asarray(decode(encoded(Image.fromarray(grey), "PNG")))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert pixels.shape == (1, 5, 3)


def test_a_transparent_level_of_sixteen_bit_grey_is_laid_on_white():
    transparent = struct.pack(">I4sH", 2, b"tRNS", 1000)
    transparent += struct.pack(">I", zlib.crc32(transparent[4:]))
    data = png(2, 1, 16, 0, [struct.pack(">HH", 1000, 2000)], transparent)
    assert np.asarray(decode(data))[0, :, 0].tolist() == [255, 8]


def test_sixteen_bit_colour_is_scaled():
    data = png(2, 1, 16, 2, [struct.pack(">6H", 0, 32768, 65535, 257, 514, 771)])
    assert np.asarray(decode(data)).tolist() == [[[0, 128, 255], [1, 2, 3]]]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_rotation_noted_by_a_camera_is_carried_out(format):
    stored = scene().transpose(Image.Transpose.ROTATE_90)
    data = encoded(stored, format, exif=turned(6), quality=95)
    assert error_of(decode(data), scene()) < 4


@at_any_speed
@given(orientation=st.integers(1, 8))
def test_every_orientation_shows_the_same_scene(orientation):
    T = Image.Transpose
    undone_by = [
        None, T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM,
        T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270,
    ][orientation - 1]  # fmt: skip
    stored = scene() if undone_by is None else scene().transpose(undone_by)
    assert error_of(decode(encoded(stored, "PNG", exif=turned(orientation))), scene()) == 0


@at_any_speed
@given(data=st.data())
def test_a_damaged_exif_block_does_not_spoil_the_image(data):
    exif = bytearray(turned(6).tobytes())
    exif[data.draw(st.integers(6, len(exif) - 1))] = data.draw(st.integers(0, 255))
    image = decode(encoded(scene(), "PNG", exif=bytes(exif)))
    # Upright or not, depending on what is left of the note, but the same pixels.
    shown, expected = (np.asarray(of).reshape(-1, 3).tolist() for of in (image, scene()))
    assert sorted(shown) == sorted(expected)


@at_any_speed
@given(kind=st.sampled_from([*ENCODED, *GREY]), data=st.data())
def test_a_file_cut_short_anywhere_is_refused_or_still_whole(kind, data):
    whole = (ENCODED | GREY)[kind]
    end = data.draw(st.integers(0, len(whole) - 1))
    try:
        image = decode(whole[:end])
    except UnreadableImage:
        return
    assert end > 0
    assert image.tobytes() == decode(whole).tobytes()


@pytest.mark.parametrize("kind", sorted({*ENCODED, *GREY} - {TWO_IN_ONE}))
def test_half_a_file_is_refused(kind):
    whole = (ENCODED | GREY)[kind]
    with pytest.raises(UnreadableImage, match=r"cut short|not a JPEG"):
        decode(whole[: len(whole) // 2])


@at_any_speed
@given(kind=st.sampled_from([*ENCODED, *GREY]), data=st.data())
def test_damage_gives_an_image_or_a_short_reason_and_nothing_else(kind, data):
    damaged = bytearray((ENCODED | GREY)[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(damaged)).mode == "RGB"
    except UnreadableImage as error:
        assert 0 < len(str(error)) < 200
        assert "\n" not in str(error)


def test_an_empty_file_is_refused():
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")


@at_any_speed
@given(data=st.binary(min_size=1))
def test_what_is_no_image_is_refused(data):
    with pytest.raises(UnreadableImage):
        decode(data)


def test_a_format_that_is_not_promised_is_refused():
    with pytest.raises(UnreadableImage, match="not a JPEG, PNG, GIF, BMP or WebP"):
        decode(encoded(scene(), "TIFF"))


@pytest.mark.parametrize("side", [12_000, 100_000], ids=["our limit", "Pillow's limit"])
def test_a_decompression_bomb_is_refused_before_it_goes_off(side):
    with pytest.raises(UnreadableImage, match="exceeds the limit of 128 million pixels"):
        decode(png(side, side, 8, 2, [b""]))


def test_warnings_of_pillow_do_not_reach_the_user(tmp_path, pytestconfig):
    path = tmp_path / "odd.jpg"
    path.write_bytes(encoded(scene(), "JPEG", exif=turned(1).tobytes()[:-2]))
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        load(path, 8)
    program = "import sys, pathlib, lib.data.decoding as p; p.load(pathlib.Path(sys.argv[1]), 8)"
    run = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_resizing_averages_over_all_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 254
    pixels = resize(Image.fromarray(stripes), 8)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - 127).max() <= 8


@at_any_speed
@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 64))
def test_any_shape_becomes_the_square_asked_for(width, height, size):
    pixels = resize(Image.new("RGB", (width, height), (10, 20, 30)), size)
    assert pixels.shape == (size, size, 3)
    assert (pixels == (10, 20, 30)).all()


def test_an_image_of_the_right_size_is_not_touched():
    image = scene(40, 40)
    assert (resize(image, 40) == np.asarray(image)).all()


def test_the_content_decides_not_the_extension(tmp_path):
    path = tmp_path / "Żółw über.JPEG.txt"
    path.write_bytes(ENCODED["PNG"])
    assert (load(path, 16) == resize(scene(), 16)).all()
