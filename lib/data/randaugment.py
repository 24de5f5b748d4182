"""The operations that RandAugment chooses from, with the ranges of torchvision's.

torchvision/transforms/autoaugment.py, `RandAugment._augmentation_space` and `_apply_op`; the
photometric ones are those of Pillow's ImageEnhance and ImageOps. Equalize, which needs the
histogram of each image, is not among them.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from lib.data import levels
from lib.data.examples import Examples
from lib.data.geometry import Geometry, affine, composed

_GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDED = ("brightness", "color", "contrast", "sharpness")
NAMES = ("identity", *_GEOMETRIC, *_BLENDED, "posterize", "solarize", "autocontrast")


_jitted = tf.function(jit_compile=True, autograph=False)


def randaugment(draws: Sequence[tf.Tensor], examples: Examples, strength: float) -> Geometry:
    """An operation for each round and image.

    Args:
        draws: for each round, float32 [n, 2]: which operation, and which way.
        examples: what they are done to.
        strength: 0 to 1.
    """
    chosen = [tf.cast(tf.floor(each[:, 0] * len(NAMES)), tf.int32) for each in draws]
    signs = [tf.where(each[:, 1] < 0.5, -1.0, 1.0) for each in draws]
    matrix = None
    for choice, sign in zip(chosen, signs, strict=True):
        moved = _moved(examples, choice, sign * strength).matrix
        matrix = moved if matrix is None else composed(matrix, moved)

    def then(examples: Examples) -> Examples:
        images = examples.images
        for choice, sign in zip(chosen, signs, strict=True):
            images = _enhanced(images, choice, sign, strength)
        return examples._replace(images=images)

    return Geometry(matrix, then)


def rotated(examples: Examples, angle: tf.Tensor) -> Geometry:
    """Each image rotated about its centre by an angle in radians, float32 [n]."""
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return affine(examples, xx=cosine, xy=-sine, yx=sine, yy=cosine)


def _moved(examples: Examples, choice: tf.Tensor, amount: tf.Tensor) -> Geometry:
    """Where the pixels come from if the choice is geometric, else from where they are."""
    height, width = examples.images.shape[1:3]

    def of(name: str, most: float) -> tf.Tensor:
        return tf.where(choice == NAMES.index(name), most * amount, 0.0)

    angle = of("rotate", math.pi / 6)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return affine(
        examples,
        xx=cosine,
        xy=of("shear_x", 0.3) - sine,
        x=of("translate_x", width * 150 / 331),
        yx=of("shear_y", 0.3) + sine,
        yy=cosine,
        y=of("translate_y", height * 150 / 331),
    )


def _enhanced(images: tf.Tensor, choice: tf.Tensor, sign: tf.Tensor, strength: float) -> tf.Tensor:
    """Does to each image what is chosen, if it is no geometric operation."""
    return _chosen(images, _smoothed(images), *_statistics(images), choice, sign, strength)


# Calls of their own: in one, XLA would compute a pixel again for each that reads it.


@_jitted
def _statistics(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    low, high = (levels.extreme(images, each) for each in (tf.reduce_min, tf.reduce_max))
    return low, high, levels.greys(levels.means(images))


@_jitted
def _chosen(images, smoothed, low, high, mean, choice, sign, strength: float) -> tf.Tensor:
    def where(name: str, this: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
        return tf.where((choice == NAMES.index(name))[:, None, None, None], this, otherwise)

    # Away from something duller by as much as the factor is above one, or towards it.
    duller = where("color", levels.greys(images), tf.zeros_like(images))
    duller = where("contrast", mean, duller)
    duller = where("sharpness", smoothed, duller)
    factor = (1.0 + 0.9 * strength * sign)[:, None, None, None]
    blended = tf.clip_by_value(duller + factor * (images - duller), 0.0, 255.0)
    coarseness = 2.0 ** round(4 * strength)
    stretched = tf.where(high > low, (images - low) * (255.0 / (high - low)), images)

    result = images
    for name in _BLENDED:
        result = where(name, blended, result)
    result = where("posterize", tf.floor(images / coarseness) * coarseness, result)
    solarized = tf.where(images >= 255.0 * (1.0 - strength), 255.0 - images, images)
    result = where("solarize", solarized, result)
    return where("autocontrast", tf.clip_by_value(stretched, 0.0, 255.0), result)


@_jitted
def _smoothed(images: tf.Tensor) -> tf.Tensor:
    """Pillow's SMOOTH: the centre counts five, its eight neighbours one; the border stays."""
    count, height, width, _ = images.shape
    lines = tf.reshape(images, [count, height, 3 * width])
    rows = lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]
    box = rows[:, :, :-6] + rows[:, :, 3:-3] + rows[:, :, 6:]
    inner = (box + 4.0 * lines[:, 1:-1, 3:-3]) / 13.0
    middle = tf.concat([lines[:, 1:-1, :3], inner, lines[:, 1:-1, -3:]], axis=2)
    return tf.reshape(tf.concat([lines[:, :1], middle, lines[:, -1:]], axis=1), images.shape)
