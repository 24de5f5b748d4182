"""What happens to an image before the network, as TensorFlow operations for an exported model.

The counterpart of `lib.data.decoding`, which training uses. Pixels that are halfway between two
levels may be rounded the other way there, where the arithmetic is of integers.
"""

import functools

import numpy as np
import tensorflow as tf

from lib.data.decoding import MAX_PIXELS

_ORIENTATION = 0x112  # the tag of TIFF
_XMP = b"http://ns.adobe.com/xap/1.0/\0"  # begins such a segment of a JPEG
_PNG_XMP = b"XML:com.adobe.xmp\0"
_PNG_PROFILE = b"Raw profile type exif\0"
# A JPEG segment: what follows was written by Adobe's rules, and its colours are not transformed.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
# Of red, green, blue and alpha in a BMP, as signed numbers: those that Pillow takes.
_MASKS_OF_16 = ((0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0))
_HIGH = -(1 << 24)  # 0xFF000000
_MASKS_OF_32 = (
    (0xFF0000, 0xFF00, 0xFF, 0),
    (_HIGH, 0xFF0000, 0xFF00, 0),
    (_HIGH, 0xFF00, 0xFF, 0),
    (_HIGH, 0xFF0000, 0xFF00, 0xFF),
    (0xFF, 0xFF00, 0xFF0000, _HIGH),
    (_HIGH, 0xFF00, 0xFF, 0xFF0000),
    (0xFF0000, 0xFF00, 0xFF, _HIGH),
)
_DAMAGED = "damaged, cut short, or of a kind that TensorFlow does not decode"
_REST = 2**31 - 1  # more than there can be
_BYTES = [bytes([value]) for value in range(256)]


def resized(images: tf.Tensor, size: int) -> tf.Tensor:
    """Scales images to squares as Pillow does: bilinear, antialiased, first in width.

    Args:
        images: uint8 [n, height, width, 3].
        size: side of the squares.

    Returns:
        float32 [n, size, size, 3], 0 to 255, in whole levels.
    """
    levels = tf.cast(images, tf.float32)
    for shape in ((tf.shape(images)[1], size), (size, size)):
        levels = tf.round(tf.image.resize(levels, shape, antialias=True))
    return levels


def resized_by_matrices(image: tf.Tensor, size: int) -> tf.Tensor:
    """The same for one image, uint8 [1, height, width, 3], of what TensorFlow Lite has too."""
    _, height, width, _ = tf.unstack(tf.shape(image))
    levels = tf.cast(image[0], tf.float32)
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


# AutoGraph would make a branch of every `if` and `and`, and time and memory go by their number. So
# there is one where work is saved by it; else what is not wanted is computed too, and left out.
@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def decoded(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes one image as `lib.data.decoding.decode` does: upright, and on white.

    What a file is, its headers say. TensorFlow's own operations decode it, where they do it as
    Pillow does. Where they do not, they get the part that they do (a BMP and its palette are taken
    apart here), or the image is refused.

    Args:
        data: string scalar, a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        The image, uint8 [height, width, 3], and why it is refused, an empty string if it is not.
        Of a refused image the pixels mean nothing.

    Raises:
        tf.errors.OpError: the file is damaged.
    """
    kinds = {
        _jpeg: tf.io.is_jpeg(data),
        _png: _at(data, 0, b"\x89PNG\r\n\x1a\n"),
        _gif: _at(data, 0, b"GIF87a") | _at(data, 0, b"GIF89a"),
        _bmp: _at(data, 0, b"BM"),
        _webp: _at(data, 0, b"RIFF") & _at(data, 8, b"WEBP"),
        _of_no_kind: tf.constant(True),
    }
    first = tf.argmax(tf.cast(tf.stack(list(kinds.values())), tf.int32), output_type=tf.int32)
    branches = [functools.partial(kind, data) for kind in kinds]
    image, exif, xmp, problem = tf.switch_case(first, branches)
    orientation, unusual = _orientation(exif, xmp)
    image = tf.transpose(image, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))
    across = tf.where(tf.reduce_any(orientation == [2, 3, 6, 7]), -1, 1)
    down = tf.where(tf.reduce_any(orientation == [3, 4, 7, 8]), -1, 1)
    image = tf.ensure_shape(image[::down, ::across], (None, None, 3))
    return image, tf.where(problem == "", unusual, problem)


def decoded_and_resized(files: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes image files and scales them; one that cannot be read costs the others nothing.

    Args:
        files: string [n].
        size: side of the squares.

    Returns:
        The images, float32 [n, size, size, 3], of zeros where they are refused, and string [n],
        why they are; empty for those that are read.
    """

    @tf.autograph.experimental.do_not_convert
    def one(number, data):
        image, problem = decoded(data)
        square = tf.cond(
            problem == "",
            lambda: tf.ensure_shape(resized(image[tf.newaxis], size)[0], (size, size, 3)),
            lambda: tf.zeros((size, size, 3)),
        )
        return number, square, problem

    count = tf.size(files)
    # A graph knows no exceptions; a data set can pass over what raises one.
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(count), files))
    done = numbered.map(one, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    one_more = tf.data.Dataset.from_tensors((count, tf.zeros((size, size, 3)), ""))
    whole = done.concatenate(one_more).batch(tf.cast(count, tf.int64) + 1)
    numbers, squares, problems = tf.data.experimental.get_single_element(whole)
    places = numbers[:, tf.newaxis]
    return (
        tf.scatter_nd(places, squares, (count + 1, size, size, 3))[:count],
        tf.tensor_scatter_nd_update(tf.fill([count + 1], _DAMAGED), places, problems)[:count],
    )


# What a file of some kind holds: the image as it is stored, uint8 [height, width, 3], an EXIF
# block and an XMP text, empty if there are none, and why it is refused, empty if it is not.
_Contents = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


def _nothing() -> tf.Tensor:
    return tf.ensure_shape(tf.zeros((0, 0, 3), tf.uint8), (None, None, 3))


def _of_no_kind(_: tf.Tensor) -> _Contents:
    problem = tf.constant("not a JPEG, PNG, GIF, BMP or WebP image")
    return _nothing(), tf.constant(""), tf.constant(""), problem


def _part(data: tf.Tensor, place: tf.Tensor | int, length: tf.Tensor | int = _REST) -> tf.Tensor:
    """Bytes of a string from a place on: fewer than asked for, or none, where it ends before."""
    place = tf.clip_by_value(place, 0, tf.strings.length(data))
    return tf.strings.substr(data, place, tf.maximum(length, 0))


def _at(data: tf.Tensor, place: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    """Whether these bytes stand at that place of a string."""
    return _part(data, place, len(expected)) == expected


def _number(data: tf.Tensor, place: tf.Tensor | int, width: int, order: str) -> tf.Tensor:
    """An unsigned number in a file, int32 of at most 31 bits, else negative.

    Args:
        data: the file. What lies behind its end is not there, so that the last bytes are read.
        place: where the number begins.
        width: of the number, in bytes.
        order: "<" for the least significant byte first, ">" for the most significant.
    """
    place = tf.clip_by_value(place, 0, tf.strings.length(data) - width)
    kind = {1: tf.uint8, 2: tf.uint16, 4: tf.int32}[width]
    part = tf.strings.substr(data, place, width)
    return tf.cast(
        tf.squeeze(tf.io.decode_raw(part, kind, little_endian=order == "<"), 0), tf.int32
    )


def _patched(data: tf.Tensor, place: tf.Tensor | int, new: tf.Tensor) -> tf.Tensor:
    """A string in which other bytes stand at a place."""
    rest = _part(data, place + tf.strings.length(new))
    return tf.strings.join([_part(data, 0, place), new, rest])


def _jpeg(data: tf.Tensor) -> _Contents:
    end = tf.strings.length(data) - 4

    def segment(place, exif, xmp, components, adobe):
        marker, length = _number(data, place, 2, ">"), _number(data, place + 2, 2, ">")
        filler = (marker < 0xFF01) | (marker == 0xFFFF)  # in the space between segments
        without_length = (marker == 0xFF01) | ((marker >= 0xFFD0) & (marker <= 0xFFD8))
        last = (marker == 0xFFDA) | (marker == 0xFFD9)  # the pixels, or the end
        text = _part(data, place + 4, tf.where(marker == 0xFFE1, length - 2, 0))
        exif_here = tf.where(_at(text, 0, b"Exif\0\0"), _part(text, 6), "")
        frame = (marker >= 0xFFC0) & (marker <= 0xFFC2)
        following = place + tf.where(filler, 1, tf.where(without_length, 2, 2 + length))
        return (
            tf.where(last, end, following),
            tf.strings.join([exif, exif_here]),
            tf.where(_at(text, 0, _XMP), _part(text, len(_XMP)), xmp),
            tf.where(frame, _number(data, place + 9, 1, ">"), components),
            adobe | ((marker == 0xFFEE) & _at(data, place + 4, b"Adobe")),
        )

    _, exif, xmp, components, adobe = tf.while_loop(
        lambda place, *_: place < end, segment, (2, "", "", 0, False)
    )
    # Pillow takes inks without Adobe's marker as inverted too, as Adobe's are.
    marker = tf.where((components == 4) & ~adobe, _ADOBE, b"")
    data = tf.strings.join([_part(data, 0, 2), marker, _part(data, 2)])
    # The accurate transform is what Pillow takes; TensorFlow's own choice is a faster one.
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return image, exif, xmp, tf.constant("")


def _png(data: tf.Tensor) -> _Contents:
    end = tf.strings.length(data) - 8

    def chunk(place, exif, clear, text, profile):
        length, kind = _number(data, place, 4, ">"), _part(data, place + 4, 4)
        wanted = tf.reduce_any(kind == [b"eXIf", b"tRNS", b"iTXt", b"tEXt", b"zTXt"])
        body = _part(data, place + 8, tf.where(wanted, length, 0))
        is_xmp = (kind == b"iTXt") & _at(body, 0, _PNG_XMP)
        is_profile = ((kind == b"tEXt") | (kind == b"zTXt")) & _at(body, 0, _PNG_PROFILE)
        last = (length < 0) | (kind == b"IEND")
        return (
            tf.where(last, end, place + 12 + tf.minimum(length, end)),
            tf.where(kind == b"eXIf", body, exif),
            tf.where(kind == b"tRNS", body, clear),
            tf.where(is_xmp, _part(body, len(_PNG_XMP)), text),
            tf.where(is_profile, kind + _part(body, len(_PNG_PROFILE)), profile),
        )

    _, exif, clear, text, profile = tf.while_loop(
        lambda place, *_: place < end, chunk, (8, "", "", "", "")
    )
    # Before the XMP: whether and how it is packed, a language and a translated key, ended by zeros.
    xmp = tf.strings.regex_replace(_part(text, 2), r"^\C*?\x00\C*?\x00", "", replace_global=False)
    xmp = _unpacked(xmp, (text != "") & ~_at(text, 0, b"\0"))
    packed = _at(profile, 0, b"zTXt")
    profile = _unpacked(_part(profile, tf.where(packed, 5, 4)), packed)
    exif = tf.where(exif == "", _from_hexadecimal(tf.where(exif == "", profile, "")), exif)

    bits, colours = _number(data, 24, 1, ">"), _number(data, 25, 1, ">")
    transparent = (colours >= 4) | ((colours == 3) & (clear != ""))
    # The one level or colour that stands for nothing.
    levels = tf.io.decode_raw(_part(clear + bytes(6), 0, 6), tf.uint16, little_endian=False)
    levels = tf.where(colours == 0, levels[0], levels)
    keyed = (clear != "") & ((colours == 0) | (colours == 2))

    def grey_of_16_bit():
        grey = tf.io.decode_png(data, channels=1, dtype=tf.uint16)
        hidden, grey = keyed & (grey == levels), tf.cast(grey, tf.int32)
        return tf.cast(tf.where(hidden, 255, (grey + 128) // 257), tf.uint8)

    def with_a_clear_level():
        # Compared as Pillow does: by the lowest 8 bits, with what is already of 8 bits.
        low = tf.where(bits == 1, tf.where(levels > 0, 255, 0), tf.cast(levels, tf.int32) % 256)
        image = tf.io.decode_png(data, channels=3)
        hidden = tf.reduce_all(image == tf.cast(low, tf.uint8), axis=2, keepdims=True)
        return tf.where(hidden, tf.constant(255, tf.uint8), image)

    way = tf.where(keyed, 2, tf.where(transparent, 1, 0))
    image = tf.switch_case(
        tf.where((bits == 16) & (colours == 0), 3, way),
        [
            lambda: tf.io.decode_png(data, channels=3),
            lambda: _on_white(tf.io.decode_png(data, channels=4)),
            with_a_clear_level,
            grey_of_16_bit,
        ],
    )
    return tf.ensure_shape(image, (None, None, 3)), exif, xmp, tf.constant("")


def _gif(data: tf.Tensor) -> _Contents:
    end, flags = tf.strings.length(data), _number(data, 10, 1, "<")
    begin = tf.where(flags >= 128, 13 + 3 * tf.bitwise.left_shift(2, flags % 8), 13)

    def extension(place, control, hidden):
        is_control = _number(data, place + 1, 1, "<") == 0xF9
        has_hidden = _number(data, place + 3, 1, "<") % 2 == 1
        hidden_here = tf.where(has_hidden, _number(data, place + 6, 1, "<"), -1)
        (block,) = tf.while_loop(
            lambda block: (block < end) & (_number(data, block, 1, "<") > 0),
            lambda block: (block + 1 + _number(data, block, 1, "<"),),
            (place + 2,),
        )
        return (
            block + 1,
            tf.where(is_control, place + 3, control),
            tf.where(is_control, hidden_here, hidden),
        )

    place, control, hidden = tf.while_loop(
        lambda place, *_: (place < end) & (_number(data, place, 1, "<") == 0x21),
        extension,
        (begin, -1, -1),
    )
    whole = tf.strings.join([b"\0\0\0\0", _part(data, 6, 4)])
    problem = _first_of(
        (_number(data, place, 1, "<") != 0x2C, "a GIF without an image"),
        (_part(data, place + 1, 8) != whole, "a GIF whose first frame does not fill it"),
        (tf.strings.regex_full_match(data, r"\C*tiff:Orientation\C*"), "a GIF turned by XMP"),
    )
    palette = tf.where(_number(data, place + 9, 1, "<") >= 128, place + 10, 13)
    # TensorFlow would show black there: so it becomes an ordinary colour, and white.
    without = tf.gather(_BYTES, tf.maximum(_number(data, control, 1, "<") - 1, 0))
    whitened = _patched(_patched(data, control, without), palette + 3 * hidden, b"\xff\xff\xff")
    data = tf.where(hidden >= 0, whitened, data)
    image = tf.cond(
        problem == "",
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
        _nothing,
    )
    return tf.ensure_shape(image, (None, None, 3)), tf.constant(""), tf.constant(""), problem


def _bmp(data: tf.Tensor) -> _Contents:
    offset, header = _number(data, 10, 4, "<"), _number(data, 14, 4, "<")
    small = header == 12
    width = tf.where(small, _number(data, 18, 2, "<"), _number(data, 18, 4, "<"))
    height = tf.where(small, _number(data, 20, 2, "<"), _number(data, 22, 4, "<"))
    bits = tf.where(small, _number(data, 24, 2, "<"), _number(data, 28, 2, "<"))
    entry = tf.where(small, 3, 4)
    compression = tf.where(small, 0, _number(data, 30, 4, "<"))
    colours = tf.where(small, 0, _number(data, 46, 4, "<"))
    masks = tf.stack([_number(data, 54 + 4 * i, 4, "<") for i in range(4)])
    # In short headers, and with 16 bits, no alpha is declared.
    masks *= tf.where((header < 56) | (bits == 16), [1, 1, 1, 0], [1, 1, 1, 1])
    masks = tf.where((bits == 32) & tf.reduce_all(masks == 0), _MASKS_OF_32[-1], masks)
    usual = tf.where(bits == 16, _MASKS_OF_16[1], _MASKS_OF_32[0])
    masks = tf.where(compression == 0, usual, masks)
    known = tf.reduce_all(masks == _MASKS_OF_16 + _MASKS_OF_32, axis=1)
    known &= (bits == 16) == ([True] * len(_MASKS_OF_16) + [False] * len(_MASKS_OF_32))
    down, height = height < 0, tf.abs(height)
    area = tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
    problem = _first_of(
        (
            tf.reduce_all(header != [12, 40, 52, 56, 64, 108, 124]),
            tf.strings.format("a BMP with a header of {} bytes", header),
        ),
        ((compression != 0) & ((compression != 3) | (bits <= 8)), "a packed BMP"),
        (
            tf.reduce_all(bits != [1, 4, 8, 16, 24, 32]),
            tf.strings.format("a BMP of {} bits", bits),
        ),
        ((bits > 8) & ~tf.reduce_any(known), "a BMP with unusual masks"),
        ((area > MAX_PIXELS) | (width <= 0), "a BMP of no such size"),
    )

    def packed(offset):
        rows = (width * bits + 31) // 32 * 4
        raw = tf.io.decode_raw(_part(data, offset, height * rows), tf.uint8)
        return tf.reshape(raw, (height, rows))

    def by_palette():
        begin = 14 + header
        count = tf.where(colours == 0, tf.bitwise.left_shift(1, bits), colours)
        pixels = packed(tf.where(offset == begin, offset + entry * count, offset))
        shifts = tf.range(8 // bits)[::-1] * bits
        split = tf.bitwise.right_shift(tf.cast(pixels, tf.int32)[..., tf.newaxis], shifts)
        indices = tf.reshape(split, (height, -1))[:, :width] % tf.bitwise.left_shift(1, bits)
        raw = tf.io.decode_raw(_part(data, begin, entry * count), tf.uint8)
        return tf.gather(tf.gather(tf.reshape(raw, (count, entry)), [2, 1, 0], axis=1), indices)

    def by_masks():
        step = bits // 8
        pixels = tf.reshape(packed(offset)[:, : width * step], (height, width, step))
        powers = tf.bitwise.left_shift(tf.constant(1, tf.int64), tf.range(step, dtype=tf.int64) * 8)
        pixels = tf.reduce_sum(tf.cast(pixels, tf.int64) * powers, axis=2, keepdims=True)
        wide = tf.cast(masks, tf.int64) % 2**32
        lowest = tf.maximum(tf.bitwise.bitwise_and(wide, -wide), 1)
        values = tf.bitwise.bitwise_and(pixels, wide) // lowest
        values = tf.cast(values * 255 // tf.maximum(wide // lowest, 1), tf.int32)
        return _on_white(tf.where((masks == 0) & [False, False, False, True], 255, values))

    way = tf.where(bits <= 8, 1, 2)
    image = tf.switch_case(tf.where(problem == "", way, 0), [_nothing, by_palette, by_masks])
    image = tf.ensure_shape(image, (None, None, 3))[:: tf.where(down, 1, -1)]
    return image, tf.constant(""), tf.constant(""), problem


def _webp(data: tf.Tensor) -> _Contents:
    extended = _at(data, 12, b"VP8X")
    flags = tf.where(extended, _number(data, 20, 1, "<"), 0)
    lossless_alpha = _at(data, 12, b"VP8L") & (_number(data, 24, 1, "<") // 16 % 2 == 1)
    transparent = lossless_alpha | (flags // 16 % 2 == 1)
    animated = flags // 2 % 2 == 1
    end = tf.strings.length(data) - 8

    def chunk(place, exif, xmp):
        length = _number(data, place + 4, 4, "<")
        is_exif = _at(data, place, b"EXIF") & (flags // 8 % 2 == 1) & (exif == "")
        is_xmp = _at(data, place, b"XMP ") & (flags // 4 % 2 == 1) & (xmp == "")
        body = _part(data, place + 8, tf.where(is_exif | is_xmp, length, 0))
        return (
            tf.where(length < 0, end, place + 8 + tf.minimum(length, end) + length % 2),
            tf.where(is_exif, body, exif),
            tf.where(is_xmp, body, xmp),
        )

    _, exif, xmp = tf.while_loop(lambda place, *_: place < end, chunk, (12, "", ""))

    def of_four_channels():
        # TensorFlow 2.21 writes four channels of an animation whatever it has room for: with the
        # flag for transparency there is room.
        flagged = _patched(data, 20, tf.gather(_BYTES, tf.bitwise.bitwise_or(flags, 16)))
        image = tf.io.decode_webp(tf.where(animated, flagged, data), channels=4)[0]
        alpha = tf.where(transparent, image[..., 3:], 255)
        return _on_white(tf.concat([image[..., :3], alpha], axis=2))

    image = tf.cond(
        transparent | animated,
        of_four_channels,
        lambda: tf.io.decode_webp(data, channels=3)[0],
    )
    return tf.ensure_shape(image, (None, None, 3)), exif, xmp, tf.constant("")


def _first_of(*cases: tuple[tf.Tensor, tf.Tensor | str]) -> tf.Tensor:
    """What belongs to the first condition that holds; an empty string if none does."""
    found = tf.constant("")
    for holds, what in reversed(cases):
        found = tf.where(holds, what, found)
    return found


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Lays an image, integers [height, width, 4], on white, by Pillow's integer arithmetic."""
    image = tf.cast(image, tf.int32)
    alpha = image[..., 3:]
    blend = (image[..., :3] * alpha + 255 * (255 - alpha) + 128) * 128
    return tf.cast((blend // 256 + blend) // 2**15, tf.uint8)


def _orientation(exif: tf.Tensor, xmp: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How an image is turned, 1 to 8, by EXIF, or by XMP where that says nothing.

    Returns:
        The orientation, int32, and why it is refused; else an empty string.
    """
    by_exif, problem = _exif_orientation(exif)
    # The first that is followed by a digit, in one of the two ways of XML.
    pattern = r'\C*?tiff:Orientation(?:="|>)([0-9])\C*'
    digit = tf.strings.regex_replace(xmp, pattern, r"\1", replace_global=False)
    digit = tf.where(tf.strings.regex_full_match(xmp, pattern), digit, "1")
    orientation = tf.where(by_exif == 0, tf.strings.to_number(digit, tf.int32), by_exif)
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1), problem


def _exif_orientation(exif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The orientation that an EXIF block states, int32, 0 if none; and what is wrong with it."""
    present = tf.strings.length(exif) >= 8
    for _ in range(2):
        exif = tf.where(_at(exif, 0, b"Exif\0\0"), _part(exif, 6), exif)
    little, big = _at(exif, 0, b"II*\0"), _at(exif, 0, b"MM\0*")
    unusual = ~little & ~big & (_at(exif, 0, b"II") | _at(exif, 0, b"MM"))
    length = tf.strings.length(exif)
    raw = tf.cast(tf.io.decode_raw(exif + bytes(12), tf.uint8), tf.int64)

    def number(digits, width):
        powers = 256 ** np.arange(width)
        return tf.reduce_sum(digits * tf.where(little, powers, powers[::-1]), axis=-1)

    # The first directory: the number of entries, then these, of 12 bytes each: a tag, a type, how
    # many values there are, and the value, if there is room.
    begin = tf.cast(tf.minimum(number(raw[4:8], 4), tf.cast(length, tf.int64)), tf.int32)
    count = tf.cast(number(raw[begin : begin + 2], 2), tf.int32)
    count = tf.minimum(count, tf.maximum(length - begin - 2, 0) // 12)
    entries = tf.reshape(raw[begin + 2 : begin + 2 + 12 * count], (-1, 12))
    entries = tf.boolean_mask(entries, number(entries[:, :2], 2) == _ORIENTATION)
    kind = number(entries[:, 2:4], 2)[:, tf.newaxis]
    short = tf.reduce_any(kind == [3, 8], axis=1)
    long = tf.reduce_any(kind == [4, 9], axis=1)
    usual = (number(entries[:, 4:8], 4) == 1) & (short | long)
    values = tf.where(short, number(entries[:, 8:10], 2), number(entries[:, 8:12], 4))
    # What is no orientation turns nothing, whatever XMP says.
    values = tf.where((values < 1) | (values > 8), tf.constant(1, tf.int64), values)
    last = tf.cast(tf.concat([[0], values], axis=0)[-1], tf.int32)
    orientation = tf.where(little | big, last, 1)  # damaged EXIF turns nothing
    problem = _first_of(
        (unusual, "EXIF of an unusual kind"),
        (
            (little | big) & ~tf.reduce_all(usual),
            "EXIF with an orientation of an unusual kind",
        ),
    )
    return tf.where(present, orientation, 0), tf.where(present, problem, "")


def _unpacked(text: tf.Tensor, packed: tf.Tensor) -> tf.Tensor:
    return tf.cond(packed, lambda: tf.io.decode_compressed(text, "ZLIB"), lambda: text)


def _from_hexadecimal(profile: tf.Tensor) -> tf.Tensor:
    """The bytes in a profile as ImageMagick writes it: three lines, then hexadecimal digits."""
    lines = tf.raw_ops.StringSplitV2(input=[profile], sep="\n").values  # no ragged tensor
    digits = tf.strings.lower(tf.strings.reduce_join(lines[3:]))
    raw = tf.cast(tf.io.decode_raw(digits, tf.uint8), tf.int32)
    raw = tf.reshape(tf.where(raw >= 97, raw - 87, raw - 48), (-1, 2))
    return tf.strings.reduce_join(tf.gather(_BYTES, raw[:, 0] * 16 + raw[:, 1]))
