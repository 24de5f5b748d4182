"""Test-time augmentation: views of an image, over which a prediction is averaged.

The views are the same for every image, so that its answer does not depend on what it is predicted
with: the image itself, then parts of it, each followed by its mirror image. Parts and mirrors are
those of A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks",
2012, section 4.1. Of an image of which the network sees the middle, the parts are its corners,
pixel by pixel, and in the place of the middle all of it.
"""

import dataclasses

import numpy as np

from lib.config import setting
from lib.data.dataset import Subset
from lib.errors import UserError

_PART = 7 / 8  # of the image's side
# The centre and the corners: where a part begins, of the room that there is for it.
_PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
MOST_VIEWS = 2 + 2 * len(_PLACES)


def view_count(text: str | None) -> int:
    """How many views `--tta` asks for: `flip` for two, a number, or 1 where it is not given.

    Raises:
        UserError: it is none of these.
    """
    if text is None:
        return 1
    if text == "flip":
        return 2
    if text.isdecimal() and 2 <= int(text) <= MOST_VIEWS:
        return int(text)
    raise UserError(
        f"{setting('tta', text)}: expected flip (the image and its mirror image), or a number of"
        f" views from 2 to {MOST_VIEWS}"
    )


def view(images: np.ndarray, number: int, seen: int | None = None) -> np.ndarray:
    """Images in the view of a number.

    Args:
        images: uint8 [n, size, size, 3].
        number: from 0, the images themselves, to below `MOST_VIEWS`.
        seen: the side of what the network sees of them, in pixels; None for all.

    Returns:
        Those of 0 and 1 [n, size, size, 3], others [n, seen, seen, 3]; uint8, or float32 from 0 to
        255 where they had to be scaled.
    """
    if number > 1:
        size, place = images.shape[1], _PLACES[number // 2 - 1]
        seen = seen or size
        if size == seen:
            images = _scaled(_part(images, max(1, round(size * _PART)), place), seen)
        else:
            images = _part(images, seen, place) if number > 3 else _scaled(images, seen)
    return images[:, :, ::-1] if number % 2 else images


def _part(images: np.ndarray, side: int, place: tuple[float, float]) -> np.ndarray:
    top, left = (round(each * (images.shape[1] - side)) for each in place)
    return images[:, top : top + side, left : left + side]


def _scaled(images: np.ndarray, size: int) -> np.ndarray:
    import tensorflow as tf  # here, as `runtime.start` must do it first

    smaller = size < images.shape[1]
    return tf.image.resize(images, (size, size), antialias=smaller).numpy()


def viewed(subset: Subset, number: int, seen: int | None = None) -> Subset:
    """A set whose images are seen in the view of a number."""
    return dataclasses.replace(subset, store=_Viewed(subset.store, number, seen))


class _Viewed:
    """The images of a store in a view."""

    def __init__(self, store, number: int, seen: int | None):
        self._store, self._number, self._seen = store, number, seen

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        return view(self._store.pixels(rows), self._number, self._seen)
