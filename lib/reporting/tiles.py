"""Predictions for a few images as tiles that are cheap enough for each epoch.

Pillow draws it in a few milliseconds, a hundredth of what a matplotlib figure takes.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from lib.reporting.plots import BLUE, VERMILLION, families, shown
from lib.reporting.predictions import percent

SHOWN, COLUMNS = 8, 4
_SIDE, _LINE, _GAP = 128, 15, 4  # pixels


def tiles(
    images: np.ndarray,
    true_names: Sequence[str],
    predicted_names: Sequence[str],
    probabilities: Sequence[float],
) -> np.ndarray:
    """Images in rows of four, each with the predicted class, its probability and the true class.

    A wrong prediction has a thick frame and a cross besides another colour.

    Args:
        images: uint8 [n, size, size, 3]; may be none at all.
        true_names: the class of each image.
        predicted_names: the class predicted for each.
        probabilities: of the predicted class, in [0, 1].

    Returns:
        uint8 [height, width, 3], with room for eight images at least, so that a series of them
        does not jump.
    """
    rows = -(-max(SHOWN, len(images)) // COLUMNS)
    width, height = _SIDE + _GAP, _SIDE + 2 * _LINE + 2 * _GAP
    canvas = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    pen = ImageDraw.Draw(canvas)
    for index, image in enumerate(images):
        left, top = index % COLUMNS * width, index // COLUMNS * height
        true, predicted = true_names[index], predicted_names[index]
        sign, colour = ("✓", BLUE) if true == predicted else ("✗", VERMILLION)
        tile = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        canvas.paste(tile, (left, top))
        if true != predicted:
            box = (left, top, left + _SIDE - 1, top + _SIDE - 1)
            pen.rectangle(box, outline=colour, width=4)
        answer = f"{sign} {{}} {percent(probabilities[index])}"
        for line, (name, form) in enumerate(((predicted, answer), (true, "true: {}"))):
            place = (left, top + _SIDE + line * _LINE)
            name = shown(name, 10).replace(r"\$", "$")  # matplotlib's escape
            text = form.format(name)
            pen.text(place, text, fill=colour, font=_font(text))
    return np.asarray(canvas)


def _font(text: str) -> ImageFont.FreeTypeFont:
    """The first font that can draw all of a text; else the one that matplotlib comes with."""
    paths = [font_manager.findfont(family) for family in families()]
    for path in paths:
        if all(font_manager.get_font(path).get_char_index(ord(letter)) for letter in text):
            return _loaded(path)
    return _loaded(paths[0])


@cache
def _loaded(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, 11)
