"""What happens to a picture before the network, as TensorFlow operations for an exported model.

The counterpart of `lib.data.pictures`, which training uses. Pixels that are halfway between two
levels may be rounded the other way there, where the arithmetic is of integers.
"""

import tensorflow as tf

_EXIF_WITHIN = 4096  # bytes: EXIF comes first in a file, and the orientation early in it
# An EXIF entry of tag 0x112 with one short, up to the number, in both byte orders.
_ORIENTATION = (b"\x12\x01\x03\x00\x01\x00\x00\x00", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00")


def resized(pictures: tf.Tensor, size: int) -> tf.Tensor:
    """Scales pictures to squares as Pillow does: bilinear, antialiased, first in width.

    Args:
        pictures: uint8 [n, height, width, 3].
        size: side of the squares.

    Returns:
        float32 [n, size, size, 3], 0 to 255, in whole levels.
    """
    levels = tf.cast(pictures, tf.float32)
    for shape in ((tf.shape(pictures)[1], size), (size, size)):
        levels = tf.round(tf.image.resize(levels, shape, antialias=True))
    return levels


def resized_by_matrices(picture: tf.Tensor, size: int) -> tf.Tensor:
    """The same for one picture, uint8 [1, height, width, 3], of what TensorFlow Lite has too."""
    _, height, width, _ = tf.unstack(tf.shape(picture))
    levels = tf.cast(picture[0], tf.float32)
    levels = tf.round(tf.matmul(_triangles(width, size)[tf.newaxis], levels))
    levels = tf.reshape(levels, (height, size * 3))
    levels = tf.round(tf.matmul(_triangles(height, size), levels))
    return tf.reshape(levels, (1, size, size, 3))


def _triangles(length: tf.Tensor, size: int) -> tf.Tensor:
    """The part that each of `length` places has in each of `size`, float32 [size, length]."""
    length = tf.cast(length, tf.float32)
    scale = length / size
    centres = (tf.range(size, dtype=tf.float32) + 0.5) * scale
    places = tf.range(0.0, length) + 0.5
    distances = tf.abs(places - centres[:, tf.newaxis]) / tf.maximum(scale, 1.0)
    weights = tf.maximum(1.0 - distances, 0.0)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def decoded(data: tf.Tensor) -> tf.Tensor:
    """Decodes one picture, upright and with transparent parts on white.

    Args:
        data: string scalar, a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        uint8 [height, width, 3].
    """
    return tf.case(
        [
            (tf.io.is_jpeg(data), lambda: _jpeg(data)),
            (tf.strings.substr(data, 0, 4) == b"\x89PNG", lambda: _png(data)),
        ],
        default=lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # The accurate transform is what Pillow takes; TensorFlow's own choice is a faster one.
    picture = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    orientation = _orientation(data)
    picture = tf.cond(orientation >= 5, lambda: tf.transpose(picture, (1, 0, 2)), lambda: picture)
    for axis, codes in ((1, (2, 3, 6, 7)), (0, (3, 4, 7, 8))):
        turned = tf.reverse(picture, [axis])
        picture = tf.where(tf.reduce_any(orientation == codes), turned, picture)
    return picture


def _orientation(data: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG file, int32 scalar from 1 to 8; 1 where there is none."""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, _EXIF_WITHIN), tf.uint8), tf.int32)
    found = []
    for pattern in _ORIENTATION:
        windows = tf.signal.frame(head, len(pattern) + 1, frame_step=1)
        hits = tf.reduce_all(windows[:, :-1] == list(pattern), axis=1)
        found.append(tf.boolean_mask(windows[:, -1], hits))
    return tf.concat([*found, [1]], axis=0)[0]


def _png(data: tf.Tensor) -> tf.Tensor:
    picture = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
    opaque = picture[..., 3:] / 255
    return tf.cast(tf.round(picture[..., :3] * opaque + 255 * (1 - opaque)), tf.uint8)
