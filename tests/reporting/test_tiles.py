import numpy as np
import pytest
from PIL import ImageDraw

from lib.reporting.tiles import SHOWN, tiles


def images(n):
    return np.full((n, 20, 20, 3), 128, np.uint8)


def colours(drawn):
    return {tuple(pixel) for row in drawn for pixel in row.tolist()}


@pytest.mark.parametrize("count", [0, 1, SHOWN])
def test_up_to_eight_images_fill_the_same_room(count):
    drawn = tiles(images(count), ["a"] * count, ["b"] * count, [0.5] * count)
    assert drawn.dtype == np.uint8 and drawn.shape == tiles(images(2), "aa", "aa", [1, 1]).shape


def test_more_images_make_more_rows():
    one, two = (tiles(images(n), "a" * n, "a" * n, [0.5] * n) for n in (8, 13))
    assert two.shape[0] == 2 * one.shape[0] and two.shape[1] == one.shape[1]


def test_a_wrong_prediction_is_framed_in_its_own_colour():
    vermillion = (0xD5, 0x5E, 0x00)
    right, wrong = (tiles(images(1), ["ants"], [name], [0.9]) for name in ("ants", "bees"))
    assert tuple(wrong[0, 0]) == vermillion and tuple(right[0, 0]) == (128, 128, 128)
    assert vermillion not in colours(right)


def test_the_same_input_gives_the_same_pixels():
    once, again = (tiles(images(3), "abc", "abb", [0.9, 0.8, 0.7]) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_names_in_any_script_and_of_any_length_are_drawn():
    names = ["猫", "a very long name of a class", "$x$", "two\nlines"]
    assert len(colours(tiles(images(4), names, names, [0.999, 0.5, 0.1, 1.0]))) > 2


def test_the_predicted_class_stands_above_the_true_one(monkeypatch):
    written = []

    def text(pen, place, words, **look):
        written.append((place[1], words))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    tiles(images(2), ["ants", "bees"], ["ants", "cicadas"], [0.91, 0.62])
    assert [words for _, words in written] == [
        *("✓ ants 91 %", "true: ants"),
        *("✗ cicadas 62 %", "true: bees"),
    ]
    assert written[0][0] < written[1][0]
