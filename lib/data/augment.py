"""The operations of `--augment`: how training examples are varied.

To add one, here or in a file for `--plugin`, write a function and register it; its name, and the
parameters that have defaults, are what `--augment="darken(0.3)|flip"` can say:

    @OPERATIONS.register
    def darken(examples, draw, most=0.5):
        "Darkens each image by up to `most`."
        return examples._replace(images=examples.images * (1.0 - most * draw(1)[:, :, None, None]))

- `examples` are `Examples`; so is what is returned, of the same shapes, images from 0 to 255.
- `draw(k)` gives float32 [n, k], uniform in [0, 1): a row for each image, a function of (seed,
  operation, step, position) alone. All that is random must come from it. How often and how wide
  an operation draws changes no other operation's numbers.
- The function is traced once into a TensorFlow graph, without AutoGraph: what depends on a tensor
  is expressed with `tf.where`, not with `if`. For values out of range raise `UserError`, or call
  `within` and `interval`.

An operation that only says where pixels come from returns an `affine` geometry instead. Adjacent
ones are composed into one interpolation, so it sees images as they were before the first of them:
it may use the shape of `examples.images`, not the content.

    @OPERATIONS.register
    def shear(examples, draw, most=0.2):
        "Slants each image by up to `most` either way."
        return affine(examples, xy=most * signed(draw(1)[:, 0]))

With `@compiled` below `@OPERATIONS.register`, XLA compiles an operation, and adjacent ones that say
so into one call. It must keep to what XLA can compile: shapes that are known before the values. The
numbers are drawn outside of it, as XLA's Philox orders them in another way.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from lib.data import levels
from lib.data import randaugment as pool
from lib.data.examples import Examples
from lib.data.geometry import Geometry, affine
from lib.errors import UserError
from lib.specs import Registry

Draw = Callable[[int], tf.Tensor]

OPERATIONS = Registry("operation")

_ATTEMPTS = 10  # at a box that fits, as in torchvision

# The mean colour for a network whose inputs are scaled to [-1, 1]: it sees zeros.
_NEUTRAL = 127.5

_jitted = tf.function(jit_compile=True, autograph=False)


def compiled(operation: Callable) -> Callable:
    """Marks an operation as one that XLA can compile; to be used as a decorator."""
    operation.compiled = True
    return operation


@OPERATIONS.register
def flip(examples: Examples, draw: Draw, horizontal=0.5, vertical=0.0) -> Geometry:
    """Mirrors images left to right, and upside down, each with a probability."""
    within("horizontal", horizontal, 0, 1)
    within("vertical", vertical, 0, 1)
    draws = draw(2)
    return affine(
        examples,
        xx=tf.where(draws[:, 0] < horizontal, -1.0, 1.0),
        yy=tf.where(draws[:, 1] < vertical, -1.0, 1.0),
    )


@OPERATIONS.register
def rotate(examples: Examples, draw: Draw, most=0.2) -> Geometry:
    """Rotates each image about its centre, by up to this part of a turn either way."""
    within("most", most, 0, 0.5)
    return pool.rotated(examples, signed(draw(1)[:, 0]) * (most * 2.0 * math.pi))


@OPERATIONS.register
def translate(examples: Examples, draw: Draw, most=0.1) -> Geometry:
    """Shifts each image by up to this part of its width and height."""
    within("most", most, 0, 1)
    draws = signed(draw(2)) * most
    height, width = examples.images.shape[1:3]
    return affine(examples, x=width * draws[:, 0], y=height * draws[:, 1])


@OPERATIONS.register
def zoom(examples: Examples, draw: Draw, most=0.2) -> Geometry:
    """Zooms in or out by up to this part, as Keras' RandomZoom does."""
    within("most", most, 0, 0.9)
    factor = 1.0 + most * signed(draw(1)[:, 0])
    return affine(examples, xx=factor, yy=factor)


@OPERATIONS.register
def crop(examples: Examples, draw: Draw, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)) -> Geometry:
    """Random resized crop: a box of a share of the area (scale) and an aspect ratio, enlarged.

    As torchvision's RandomResizedCrop: the first of ten boxes that lies within the image, else the
    largest in its middle whose ratio is allowed; but boxes are not rounded to whole pixels. It is
    enlarged to what the network sees, also where that is the middle of an image otherwise.
    """
    interval("scale", scale, 0.001, 1)
    interval("ratio", ratio, 0.01, 100)
    draws = draw(2 * _ATTEMPTS + 2)
    height, width = examples.images.shape[1:3]
    w, h, found = _box(draws[:, 2:], height, width, scale, ratio)
    allowed = min(max(width / height, ratio[0]), ratio[1])
    w = tf.where(found, w, min(width, height * allowed))
    h = tf.where(found, h, min(height, width / allowed))
    # From the image's centre to the box's.
    x = tf.where(found, draws[:, 0] - 0.5, 0.0) * (width - w)
    y = tf.where(found, draws[:, 1] - 0.5, 0.0) * (height - h)
    return affine(examples, xx=w / width, x=x, yy=h / height, y=y)._replace(whole=True)


@OPERATIONS.register
def color(
    examples: Examples, draw: Draw, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
) -> Examples:
    """Varies brightness, contrast, saturation and hue, by up to these parts; hue's is of a turn.

    The arithmetic of `tf.image.adjust_brightness`, `adjust_contrast`, `adjust_saturation` and
    `adjust_hue`, in this order, each with a number drawn for each image; values are clipped after
    contrast, as saturation is defined between black and white alone. Saturation and hue are written
    out: conversions to HSV and back take twice as long.
    """
    within("brightness", brightness, 0, 1)
    within("contrast", contrast, 0, 1)
    within("saturation", saturation, 0, 1)
    within("hue", hue, 0, 0.5)
    draws = signed(draw(4)) * [[brightness, contrast, saturation, hue]] + [[0.0, 1.0, 1.0, 0.0]]
    return examples._replace(images=_recoloured(examples.images, draws))


@OPERATIONS.register
@compiled
def grey(examples: Examples, draw: Draw, probability=0.1) -> Examples:
    """Takes the colour from images, with a probability; weights of `tf.image.rgb_to_grayscale`."""
    within("probability", probability, 0, 1)
    which = (draw(1) < probability)[:, :, tf.newaxis, tf.newaxis]
    images = examples.images
    return examples._replace(images=tf.where(which, levels.greys(images), images))


@OPERATIONS.register
@compiled
def erase(
    examples: Examples, draw: Draw, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3)
) -> Examples:
    """Erases a box of a share of the area (scale) and an aspect ratio, with a probability.

    As torchvision's RandomErasing (Zhong et al., "Random erasing data augmentation", 2020), with
    its fill: the middle of the network's inputs. Where none of ten boxes fits, nothing is erased.
    """
    within("probability", probability, 0, 1)
    interval("scale", scale, 0, 1)
    interval("ratio", ratio, 0.01, 100)
    draws = draw(2 * _ATTEMPTS + 3)
    height, width = examples.images.shape[1:3]
    w, h, found = _box(draws[:, 3:], height, width, scale, ratio)
    w, h = tf.round(w), tf.round(h)
    left = tf.floor(draws[:, 0] * (width - w + 1.0))
    top = tf.floor(draws[:, 1] * (height - h + 1.0))
    w = tf.where(found & (draws[:, 2] < probability), w, 0.0)
    box = tf.stack([left, top, left + w, top + h], axis=1)
    fill = tf.fill([1, 1, 1, 3], _NEUTRAL)
    return examples._replace(images=_pasted(examples.images, fill, box))


@OPERATIONS.register
def blur(examples: Examples, draw: Draw, probability=0.5, sigma=(0.1, 1.0)) -> Examples:
    """Blurs images by a Gaussian of a width (sigma, in pixels), with a probability.

    As torchvision's GaussianBlur: separable, sampled, normalised, reflected at the border; it
    reaches three times the largest width.
    """
    within("probability", probability, 0, 1)
    interval("sigma", sigma, 0.01, 5)
    draws = draw(2)
    reach = math.ceil(3 * sigma[1])
    widths = sigma[0] + (sigma[1] - sigma[0]) * draws[:, :1]
    offsets = tf.range(-reach, reach + 1, dtype=tf.float32)[tf.newaxis]
    kernels = tf.exp(-0.5 * tf.square(offsets / widths))
    kernels = tf.where(draws[:, 1:] < probability, kernels, tf.cast(offsets == 0.0, tf.float32))
    kernels /= tf.reduce_sum(kernels, axis=1, keepdims=True)
    return examples._replace(images=_blurred(examples.images, kernels))


@OPERATIONS.register
def randaugment(examples: Examples, draw: Draw, count=2, strength=0.3) -> Geometry:
    """Does `count` operations to each image, chosen at random, all of one strength (0 to 1).

    Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space",
    2020, with the operations and ranges of torchvision's RandAugment (whose magnitude of 9 of 30
    is 0.3) but equalize. The geometric ones that are chosen come before the others, so that they
    are one interpolation.
    """
    if not isinstance(count, int) or not 1 <= count <= 20:
        raise UserError(f"count={count!r}; expected a whole number from 1 to 20")
    within("strength", strength, 0, 1)
    return pool.randaugment([draw(2) for _ in range(count)], examples, strength)


@OPERATIONS.register
@compiled
def mixup(examples: Examples, draw: Draw, alpha=0.2, probability=1.0) -> Examples:
    """Mixes each image and target with the next one's; shares are Beta(alpha, alpha).

    Zhang et al., "mixup: beyond empirical risk minimization", 2018, with a share for each image.
    The last image's partner is the first. Partners are those of the images given, so of a slice
    where a batch is augmented in slices.
    """
    within("alpha", alpha, 0.001, 1000)
    within("probability", probability, 0, 1)
    draws = draw(3)
    kept = tf.where(draws[:, 2] < probability, symmetric_beta(draws[:, :2], alpha), 1.0)

    def mixed(values: tf.Tensor) -> tf.Tensor:
        share = tf.reshape(kept, [-1, *[1] * (len(values.shape) - 1)])
        return share * values + (1.0 - share) * tf.roll(values, -1, axis=0)

    return Examples(mixed(examples.images), mixed(examples.targets))


@OPERATIONS.register
@compiled
def cutmix(examples: Examples, draw: Draw, alpha=1.0, probability=1.0) -> Examples:
    """Replaces a box of each image by the next one's; the part that is kept is Beta(alpha, alpha).

    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
    features", 2019: targets are mixed by area, after the box is cut off at the image's border.
    Partners are as those of `mixup`.
    """
    within("alpha", alpha, 0.001, 1000)
    within("probability", probability, 0, 1)
    draws = draw(5)
    images, targets = examples
    size = tf.constant([images.shape[2], images.shape[1]], tf.float32)  # width, height
    side = tf.sqrt(1.0 - symmetric_beta(draws[:, :2], alpha))[:, tf.newaxis]
    half = tf.floor(tf.floor(size * side) / 2.0)
    half = tf.where(draws[:, 4:] < probability, half, 0.0)
    centre = tf.floor(size * draws[:, 2:4])
    box = tf.concat([tf.maximum(centre - half, 0.0), tf.minimum(centre + half, size)], axis=1)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    replaced = (area / (images.shape[1] * images.shape[2]))[:, tf.newaxis]
    return Examples(
        _pasted(images, tf.roll(images, -1, axis=0), box),
        (1.0 - replaced) * targets + replaced * tf.roll(targets, -1, axis=0),
    )


def within(name: str, value: float, low: float, high: float) -> None:
    """Makes sure that a setting is a number from `low` to `high`.

    Raises:
        UserError: it is not.
    """
    if not _number(value) or not low <= value <= high:
        raise UserError(f"{name}={value!r}; expected a number from {low:g} to {high:g}")


def interval(name: str, value: Sequence[float], low: float, high: float) -> None:
    """Makes sure that a setting is a pair of numbers from `low` to `high`, the smaller one first.

    Raises:
        UserError: it is not.
    """
    if len(value) != 2 or not all(map(_number, value)) or not low <= value[0] <= value[1] <= high:
        raise UserError(f"{name}={value!r}; expected (smallest, largest), from {low:g} to {high:g}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def signed(draws: tf.Tensor) -> tf.Tensor:
    """Draws from [0, 1) as numbers from [-1, 1)."""
    return 2.0 * draws - 1.0


def symmetric_beta(draws: tf.Tensor, alpha: float) -> tf.Tensor:
    """Numbers of the distribution Beta(alpha, alpha), exactly, from two uniform ones each.

    If T is Student's t with n degrees of freedom, (1 + T / sqrt(n + T²)) / 2 is Beta(n/2, n/2);
    and T² / n is (U^(-2/n) - 1) cos²(2πV) (Bailey, "Polar generation of random variates with the
    t-distribution", 1994; Devroye, "Random variate generation in one line of code", 1996).

    Args:
        draws: float32 [n, 2], uniform in [0, 1).
        alpha: above 0.

    Returns:
        float32 [n], from 0 to 1.
    """
    draws = tf.cast(draws, tf.float64)
    cosine = tf.cos(2.0 * math.pi * draws[:, 1])
    square = tf.math.expm1(-tf.math.log1p(-draws[:, 0]) / alpha) * tf.square(cosine)
    return tf.cast(0.5 + 0.5 * tf.sign(cosine) / tf.sqrt(1.0 + 1.0 / square), tf.float32)


def _box(draws: tf.Tensor, height: int, width: int, scale, ratio):
    """The first of several random boxes that lies within an image.

    Args:
        draws: float32 [n, 2 * attempts].
        height: of the image.
        width: of the image.
        scale: of the box's area, as a part of the image's.
        ratio: of its width to its height; its logarithm is uniform.

    Returns:
        Width and height in pixels, float32 [n], and whether there is one, bool [n].
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[:, 0::2])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = tf.exp(low + (high - low) * draws[:, 1::2])
    w, h = tf.sqrt(area * ratios), tf.sqrt(area / ratios)
    fits = (w <= width) & (h <= height)
    first = tf.argmax(fits, axis=1)
    return (
        tf.gather(w, first, batch_dims=1),
        tf.gather(h, first, batch_dims=1),
        tf.reduce_any(fits, axis=1),
    )


# Calls of their own: within `@compiled`, XLA would compute a pixel again for each that reads it.


@_jitted
def _recoloured(images: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """Adds to brightness, and scales contrast and saturation and turns hue: float32 [n, 4]."""
    brightness, contrast, saturation, hue = tf.unstack(changes[:, tf.newaxis, tf.newaxis], axis=-1)
    mean = levels.means(images)
    images = (images - mean) * contrast[..., tf.newaxis] + mean
    images = tf.clip_by_value(images + 255.0 * brightness[..., tf.newaxis], 0.0, 255.0)
    red, green, blue = tf.unstack(images, axis=-1)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    scale = tf.math.divide_no_nan(1.0, chroma)
    # In sixths of a turn, as rgb_to_hsv has it: from red, from green, from blue.
    hues = tf.where(value == green, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale)
    hues = tf.where(value == red, (green - blue) * scale, hues) + 6.0 * hue
    chroma = tf.minimum(chroma * saturation, value)
    # A channel falls from the value by the chroma, the more the farther the hue is from its own.
    turns = (hues[..., tf.newaxis] + tf.constant([5.0, 3.0, 1.0])) / 6.0
    sixths = 6.0 * (turns - tf.floor(turns))
    fallen = tf.clip_by_value(tf.minimum(sixths, 4.0 - sixths), 0.0, 1.0)
    return value[..., tf.newaxis] - chroma[..., tf.newaxis] * fallen


def _pasted(images: tf.Tensor, others: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Puts others in where the box, float32 [n, 4] (left, top, right, bottom; whole), says."""
    columns = tf.range(images.shape[2], dtype=tf.float32)[tf.newaxis, tf.newaxis, :]
    rows = tf.range(images.shape[1], dtype=tf.float32)[tf.newaxis, :, tf.newaxis]
    left, top, right, bottom = tf.unstack(box[:, :, tf.newaxis, tf.newaxis], axis=1)
    inside = (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
    return tf.where(inside[..., tf.newaxis], others, images)


def _blurred(images: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    """Convolves the columns, then the rows, of each image with its kernel, float32 [n, taps]."""
    # Compiled in two parts: fused, columns would be computed again for each tap of the rows.
    return _blurred_down(_blurred_across(images, kernels), kernels)


@_jitted
def _blurred_across(images: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    reach = kernels.shape[1] // 2
    images = tf.pad(images, [(0, 0), (0, 0), (reach, reach), (0, 0)], "REFLECT")
    return _weighted(images, kernels, axis=2)


@_jitted
def _blurred_down(images: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    # The rows near the border by themselves, so that no reflected image is written and read.
    reach = kernels.shape[1] // 2
    top = tf.pad(images[:, : 2 * reach], [(0, 0), (reach, 0), (0, 0), (0, 0)], "REFLECT")
    bottom = tf.pad(images[:, -2 * reach :], [(0, 0), (0, reach), (0, 0), (0, 0)], "REFLECT")
    return tf.concat([_weighted(part, kernels, axis=1) for part in (top, images, bottom)], axis=1)


def _weighted(images: tf.Tensor, kernels: tf.Tensor, axis: int) -> tf.Tensor:
    """Sums along an axis, weighted by symmetric kernels; taps - 1 lines are lost."""
    reach = kernels.shape[1] // 2
    count, height, width, _ = images.shape
    if axis == 2:
        width -= 2 * reach
    else:
        height -= 2 * reach
    # Columns and colours are one axis, along which processors compute several at once.
    lines = tf.reshape(images, [count, images.shape[1], -1])

    def tap(position: int) -> tf.Tensor:
        row, column = (0, 3 * position) if axis == 2 else (position, 0)
        return lines[:, row : row + height, column : column + 3 * width]

    weights = kernels[:, :, tf.newaxis, tf.newaxis]
    total = weights[:, reach] * tap(reach)
    for k in range(reach):
        total += weights[:, k] * (tap(k) + tap(2 * reach - k))
    return tf.reshape(total, [count, height, width, 3])
