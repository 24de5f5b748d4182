"""Decodes and resizes pictures by TensorFlow operations, for an exported model.

The counterpart of `lib.data.pictures`, which training uses. Pixels that are halfway between two
levels may be rounded the other way there, where the arithmetic is of integers.
"""

import tensorflow as tf

from lib.data.pictures import MAX_PIXELS

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
_BYTES = [bytes([value]) for value in range(256)]


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


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def decoded(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes one picture as `lib.data.pictures.decode` does: upright, and on white.

    What a file is, its headers say. TensorFlow's own operations decode it, where they do it as
    Pillow does. Where they do not, they get the part that they do (a BMP and its palette are taken
    apart here), or the picture is refused.

    Args:
        data: string scalar, a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        The picture, uint8 [height, width, 3], and an empty string; or nothing, [0, 0, 3], and why
        it is refused.

    Raises:
        tf.errors.OpError: the file is damaged.
    """
    picture, problem = _nothing(), tf.constant("not a JPEG, PNG, GIF, BMP or WebP picture")
    if tf.io.is_jpeg(data):
        picture, problem = _jpeg(data)
    elif _at(data, 0, b"\x89PNG\r\n\x1a\n"):
        picture, problem = _png(data)
    elif _at(data, 0, b"GIF87a") or _at(data, 0, b"GIF89a"):
        picture, problem = _gif(data)
    elif _at(data, 0, b"BM"):
        picture, problem = _bmp(data)
    elif _at(data, 0, b"RIFF") and _at(data, 8, b"WEBP"):
        picture, problem = _webp(data)
    return picture, problem


def decoded_and_resized(files: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes picture files and scales them; one that cannot be read costs the others nothing.

    Args:
        files: string [n].
        size: side of the squares.

    Returns:
        The pictures, float32 [n, size, size, 3], of zeros where they are refused, and string [n],
        why they are; empty for those that are read.
    """

    def one(number, data):
        picture, problem = decoded(data)
        square = tf.zeros((size, size, 3))
        if problem == "":
            square = tf.ensure_shape(resized(picture[tf.newaxis], size)[0], (size, size, 3))
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


def _nothing() -> tf.Tensor:
    return tf.ensure_shape(tf.zeros((0, 0, 3), tf.uint8), (None, None, 3))


def _at(data: tf.Tensor, place: tf.Tensor | int, expected: bytes) -> tf.Tensor:
    """Whether these bytes stand at that place of a string."""
    found = tf.strings.length(data) >= place + len(expected)
    return found and tf.strings.substr(data, place, len(expected)) == expected


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
    return tf.cast(tf.io.decode_raw(part, kind, little_endian=order == "<")[0], tf.int32)


def _patched(data: tf.Tensor, place: tf.Tensor | int, new: tf.Tensor) -> tf.Tensor:
    """A string in which other bytes stand at a place."""
    behind = place + tf.strings.length(new)
    rest = tf.strings.substr(data, behind, tf.strings.length(data) - behind)
    return tf.strings.join([tf.strings.substr(data, 0, place), new, rest])


def _jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    exif, xmp = tf.constant(b""), tf.constant(b"")
    components, adobe, place = tf.constant(0), tf.constant(False), tf.constant(2)
    end = tf.strings.length(data) - 4
    while place < end:
        marker = _number(data, place, 2, ">")
        if marker < 0xFF01 or marker == 0xFFFF:  # what fills the space between segments
            place += 1
        elif marker == 0xFF01 or (marker >= 0xFFD0 and marker <= 0xFFD8):  # without a length
            place += 2
        elif marker == 0xFFDA or marker == 0xFFD9:  # the pixels, or the end
            place = end
        else:
            length = _number(data, place + 2, 2, ">")
            if marker == 0xFFE1 and _at(data, place + 4, b"Exif\0\0"):
                exif = tf.strings.join([exif, tf.strings.substr(data, place + 10, length - 8)])
            elif marker == 0xFFE1 and _at(data, place + 4, _XMP):
                begin = place + 4 + len(_XMP)
                xmp = tf.strings.substr(data, begin, length - 2 - len(_XMP))
            elif marker == 0xFFEE and _at(data, place + 4, b"Adobe"):
                adobe = tf.constant(True)
            elif marker == 0xFFC0 or marker == 0xFFC1 or marker == 0xFFC2:
                components = _number(data, place + 9, 1, ">")
            place += 2 + length
    if components == 4 and not adobe:  # Pillow takes such inks as inverted too, as Adobe's are
        data = tf.strings.join(
            [tf.strings.substr(data, 0, 2), _ADOBE, tf.strings.substr(data, 2, -1)]
        )
    # The accurate transform is what Pillow takes; TensorFlow's own choice is a faster one.
    picture = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return _upright(picture, exif, xmp)


def _png(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    exif, xmp, profile = tf.constant(b""), tf.constant(b""), tf.constant(b"")
    clear = tf.constant([-1, -1, -1])  # the one level or colour that stands for nothing
    bits, colours = _number(data, 24, 1, ">"), _number(data, 25, 1, ">")
    transparent = colours >= 4
    place, end = tf.constant(8), tf.strings.length(data) - 8
    while place < end:
        length, begin = _number(data, place, 4, ">"), place + 8
        if length < 0 or _at(data, place + 4, b"IEND"):
            end = place
        elif _at(data, place + 4, b"tRNS"):
            if colours == 3:
                transparent = tf.constant(True)
            elif colours == 0:
                clear = tf.repeat(_number(data, begin, 2, ">"), 3)
            elif colours == 2:
                clear = tf.stack([_number(data, begin + 2 * i, 2, ">") for i in range(3)])
        elif _at(data, place + 4, b"eXIf"):
            exif = tf.strings.substr(data, begin, length)
        elif _at(data, place + 4, b"iTXt") and _at(data, begin, _PNG_XMP):
            packed = _number(data, begin + len(_PNG_XMP), 1, ">") != 0
            # Behind the key: whether and how it is packed, a language and a translated key.
            rest = tf.strings.substr(data, begin + len(_PNG_XMP) + 2, length - len(_PNG_XMP) - 2)
            ends = tf.where(tf.equal(tf.io.decode_raw(rest, tf.uint8), 0))[:, 0]
            xmp = tf.strings.substr(rest, ends[1] + 1, tf.int64.max // 2)
            if packed:
                xmp = tf.io.decode_compressed(xmp, "ZLIB")
        elif _at(data, place + 4, b"tEXt") and _at(data, begin, _PNG_PROFILE):
            skipped = len(_PNG_PROFILE)
            profile = tf.strings.substr(data, begin + skipped, length - skipped)
        elif _at(data, place + 4, b"zTXt") and _at(data, begin, _PNG_PROFILE):
            skipped = len(_PNG_PROFILE) + 1
            profile = tf.io.decode_compressed(
                tf.strings.substr(data, begin + skipped, length - skipped), "ZLIB"
            )
        place += 12 + length
    if exif == b"" and profile != b"":
        exif = _from_hexadecimal(profile)

    if bits == 16 and colours == 0:
        wide = tf.cast(tf.io.decode_png(data, channels=1, dtype=tf.uint16), tf.int32)
        grey = tf.where(wide == clear[0], 255, (wide + 128) // 257)
        picture = tf.cast(tf.repeat(grey, 3, axis=2), tf.uint8)
    elif transparent:
        picture = _on_white(tf.io.decode_png(data, channels=4))
    else:
        picture = tf.io.decode_png(data, channels=3)
        if clear[0] >= 0:
            # Compared as Pillow does: by the lowest 8 bits, with what is already of 8 bits.
            if bits == 1:
                clear = tf.where(clear > 0, 255, 0)
            hidden = tf.reduce_all(tf.cast(picture, tf.int32) == clear % 256, axis=2, keepdims=True)
            picture = tf.where(hidden, tf.constant(255, tf.uint8), picture)
    return _upright(picture, exif, xmp)


def _gif(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    problem = tf.constant("")
    flags = _number(data, 10, 1, "<")
    palette, place = tf.constant(13), tf.constant(13)
    if flags >= 128:
        place += 3 * tf.bitwise.left_shift(2, flags % 8)
    hidden, control, end = tf.constant(-1), tf.constant(-1), tf.strings.length(data)
    while place < end:
        kind = _number(data, place, 1, "<")
        if kind == 0x21:
            if _number(data, place + 1, 1, "<") == 0xF9:
                control, hidden = place + 3, tf.constant(-1)
                if _number(data, control, 1, "<") % 2 == 1:
                    hidden = _number(data, place + 6, 1, "<")
            place += 2
            length = _number(data, place, 1, "<")
            while length > 0:
                place += 1 + length
                length = _number(data, place, 1, "<")
            place += 1
        else:
            end = place
    if _number(data, place, 1, "<") != 0x2C:
        problem = tf.constant("a GIF without a picture")
    elif tf.strings.substr(data, place + 1, 8) != tf.strings.join(
        [b"\0\0\0\0", tf.strings.substr(data, 6, 4)]
    ):
        problem = tf.constant("a GIF whose first frame does not fill it")
    elif tf.size(tf.strings.split(data, "tiff:Orientation")) > 1:
        problem = tf.constant("a GIF turned by XMP")
    picture = _nothing()
    if problem == "":
        if _number(data, place + 9, 1, "<") >= 128:
            palette = place + 10
        if hidden >= 0:
            # TensorFlow would show black there: so it becomes an ordinary colour, and white.
            data = _patched(data, control, tf.gather(_BYTES, _number(data, control, 1, "<") - 1))
            data = _patched(data, palette + 3 * hidden, tf.constant(b"\xff\xff\xff"))
        picture = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.ensure_shape(picture, (None, None, 3)), problem


def _bmp(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    offset, header = _number(data, 10, 4, "<"), _number(data, 14, 4, "<")
    entry, colours, compression = tf.constant(4), tf.constant(0), tf.constant(0)
    masks = tf.constant([0, 0, 0, 0])
    if header == 12:
        width, height = _number(data, 18, 2, "<"), _number(data, 20, 2, "<")
        bits, entry = _number(data, 24, 2, "<"), tf.constant(3)
    else:
        width, height = _number(data, 18, 4, "<"), _number(data, 22, 4, "<")
        bits, compression = _number(data, 28, 2, "<"), _number(data, 30, 4, "<")
        colours = _number(data, 46, 4, "<")
        masks = tf.stack([_number(data, 54 + 4 * i, 4, "<") for i in range(4)])
        if header < 56:  # such a header has no mask of alpha
            masks *= [1, 1, 1, 0]
    if compression == 0:
        masks = tf.constant(_MASKS_OF_16[1])
        if bits != 16:
            masks = tf.constant(_MASKS_OF_32[0])
    elif bits == 32 and tf.reduce_all(masks == 0):
        masks = tf.constant(_MASKS_OF_32[-1])
    if bits == 16:
        known = tf.constant(_MASKS_OF_16)
        masks *= [1, 1, 1, 0]
    else:
        known = tf.constant(_MASKS_OF_32)
    picture, problem = _nothing(), tf.constant("")
    raw = tf.io.decode_raw(data, tf.uint8)
    down = height < 0
    height = tf.abs(height)
    if tf.reduce_all(header != [12, 40, 52, 56, 64, 108, 124]):
        problem = tf.strings.format("a BMP with a header of {} bytes", header)
    elif compression != 0 and (compression != 3 or bits <= 8):
        problem = tf.constant("a packed BMP")
    elif tf.reduce_all(bits != [1, 4, 8, 16, 24, 32]):
        problem = tf.strings.format("a BMP of {} bits", bits)
    elif bits > 8 and not tf.reduce_any(tf.reduce_all(masks == known, axis=1)):
        problem = tf.constant("a BMP with unusual masks")
    elif width * height > MAX_PIXELS or width <= 0:
        problem = tf.constant("a BMP of no such size")
    else:
        rows = (width * bits + 31) // 32 * 4
        palette = 14 + header
        if bits <= 8:
            if colours == 0:
                colours = tf.bitwise.left_shift(1, bits)
            if offset == palette:
                offset += entry * colours
        packed = tf.reshape(raw[offset : offset + height * rows], (height, rows))
        if bits <= 8:
            shifts = tf.range(8 // bits)[::-1] * bits
            split = tf.bitwise.right_shift(tf.cast(packed, tf.int32)[..., tf.newaxis], shifts)
            indices = tf.reshape(split, (height, rows * 8 // bits))[:, :width]
            indices %= tf.bitwise.left_shift(1, bits)
            table = tf.reshape(raw[palette : palette + entry * colours], (colours, entry))
            picture = tf.gather(tf.gather(table, [2, 1, 0], axis=1), indices)
        else:
            step = bits // 8
            packed = tf.reshape(packed[:, : width * step], (height, width, step))
            powers = tf.bitwise.left_shift(
                tf.constant(1, tf.int64), tf.range(step, dtype=tf.int64) * 8
            )
            pixels = tf.reduce_sum(tf.cast(packed, tf.int64) * powers, axis=2, keepdims=True)
            wide = tf.cast(masks, tf.int64) % 2**32
            lowest = tf.maximum(tf.bitwise.bitwise_and(wide, -wide), 1)
            values = tf.bitwise.bitwise_and(pixels, wide) // lowest
            values = values * 255 // tf.maximum(wide // lowest, 1)
            picture = tf.cast(values, tf.uint8)
            picture = picture[..., :3] if masks[3] == 0 else _on_white(picture)
        if not down:
            picture = picture[::-1]
    return tf.ensure_shape(picture, (None, None, 3)), problem


def _webp(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    exif, xmp = tf.constant(b""), tf.constant(b"")
    flags, transparent = tf.constant(0), tf.constant(False)
    if _at(data, 12, b"VP8L"):
        transparent = _number(data, 24, 1, "<") // 16 % 2 == 1
    elif _at(data, 12, b"VP8X"):
        flags = _number(data, 20, 1, "<")
        transparent = flags // 16 % 2 == 1
    place, end = tf.constant(12), tf.strings.length(data) - 8
    while place < end:
        length = _number(data, place + 4, 4, "<")
        if length < 0:
            end = place
        elif _at(data, place, b"EXIF") and flags // 8 % 2 == 1 and exif == b"":
            exif = tf.strings.substr(data, place + 8, length)
        elif _at(data, place, b"XMP ") and flags // 4 % 2 == 1 and xmp == b"":
            xmp = tf.strings.substr(data, place + 8, length)
        place += 8 + length + length % 2
    if transparent:
        picture = _on_white(tf.io.decode_webp(data, channels=4)[0])
    elif flags // 2 % 2 == 1:
        # TensorFlow 2.21 writes four channels of an animation whatever it has room for: with this
        # flag for transparency there is room.
        data = _patched(data, 20, tf.gather(_BYTES, flags + 16))
        picture = tf.io.decode_webp(data, channels=4)[0, ..., :3]
    else:
        picture = tf.io.decode_webp(data, channels=3)[0]
    return _upright(picture, exif, xmp)


def _on_white(picture: tf.Tensor) -> tf.Tensor:
    """Lays a picture, uint8 [height, width, 4], on white, by Pillow's integer arithmetic."""
    picture = tf.cast(picture, tf.int32)
    alpha = picture[..., 3:]
    blend = (picture[..., :3] * alpha + 255 * (255 - alpha) + 128) * 128
    return tf.cast((blend // 256 + blend) // 2**15, tf.uint8)


def _upright(picture: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns a picture as its metadata say: EXIF, or XMP where that says nothing."""
    orientation, problem = tf.constant(1), tf.constant("")
    if tf.strings.length(exif) >= 8:
        orientation, problem = _exif_orientation(exif)
    else:
        orientation = tf.constant(0)
    if orientation == 0:
        orientation = tf.constant(1)
        # The first that is followed by a digit, in one of the two ways of XML.
        parts = tf.strings.substr(tf.strings.split(xmp, "tiff:Orientation")[1:], 0, 3)
        parts = tf.concat([parts, ['="1']], axis=0)
        parts = tf.strings.regex_replace(parts, '^(?:="|>)([0-9])(?s:.*)$', r"\1")
        digits = tf.boolean_mask(parts, tf.strings.regex_full_match(parts, "[0-9]"))
        orientation = tf.strings.to_number(digits[0], tf.int32)
    if orientation >= 5 and orientation <= 8:
        picture = tf.transpose(picture, (1, 0, 2))
    if tf.reduce_any(orientation == [2, 3, 6, 7]):
        picture = picture[:, ::-1]
    if tf.reduce_any(orientation == [3, 4, 7, 8]):
        picture = picture[::-1]
    if problem != "":
        picture = _nothing()
    return tf.ensure_shape(picture, (None, None, 3)), problem


def _exif_orientation(exif: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The orientation that an EXIF block holds, 0 if none; and what is wrong with it."""
    for _ in range(2):
        if _at(exif, 0, b"Exif\0\0"):
            exif = tf.strings.substr(exif, 6, tf.strings.length(exif) - 6)
    orientation, problem = tf.constant(1), tf.constant("")  # damaged EXIF turns nothing
    if _at(exif, 0, b"II*\0"):
        orientation, problem = _tiff_orientation(exif, "<")
    elif _at(exif, 0, b"MM\0*"):
        orientation, problem = _tiff_orientation(exif, ">")
    elif _at(exif, 0, b"II") or _at(exif, 0, b"MM"):
        problem = tf.constant("EXIF of an unusual kind")
    return orientation, problem


def _tiff_orientation(data: tf.Tensor, order: str) -> tuple[tf.Tensor, tf.Tensor]:
    orientation, problem = tf.constant(0), tf.constant("")
    entry = _number(data, 4, 4, order) + 2
    for _ in range(_number(data, entry - 2, 2, order)):
        if _number(data, entry, 2, order) == _ORIENTATION and entry + 12 <= tf.strings.length(data):
            kind, count = _number(data, entry + 2, 2, order), _number(data, entry + 4, 4, order)
            if count == 1 and (kind == 3 or kind == 8):
                orientation = _number(data, entry + 8, 2, order)
            elif count == 1 and (kind == 4 or kind == 9):
                orientation = _number(data, entry + 8, 4, order)
            else:
                problem = tf.constant("EXIF with an orientation of an unusual kind")
            if orientation == 0:  # what is no orientation turns nothing, whatever XMP says
                orientation = tf.constant(1)
        entry += 12
    return orientation, problem


def _from_hexadecimal(profile: tf.Tensor) -> tf.Tensor:
    """The bytes in a profile as ImageMagick writes it: three lines, then hexadecimal digits."""
    digits = tf.strings.reduce_join(tf.strings.split(profile, "\n")[3:])
    raw = tf.cast(tf.io.decode_raw(tf.strings.lower(digits), tf.uint8), tf.int32)
    raw = tf.reshape(tf.where(raw >= 97, raw - 87, raw - 48), (-1, 2))
    return _as_string(tf.concat([tf.cast(raw[:, 0] * 16 + raw[:, 1], tf.uint8), [0]], axis=0))


def _as_string(raw: tf.Tensor) -> tf.Tensor:
    """The bytes, uint8 [n], of which the last is left out, as one string."""
    return tf.strings.reduce_join(tf.gather(_BYTES, tf.cast(raw[:-1], tf.int32)))
