"""Made-up image files, of every kind that `lib.data.decoding.decode` takes.

An exported model that decodes files by itself is compared with that function on them.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

_SIZE = (45, 37)  # no multiple of anything, so that padding of rows shows
_ORIENTATION = 0x112
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description'
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></x:xmpmeta>'
)


def files() -> dict[str, bytes]:
    """Image files by what kind they are; the same at each call."""
    return dict(_all())


def _all() -> Iterator[tuple[str, bytes]]:
    yield from _jpegs()
    yield from _pngs()
    yield from _gifs()
    yield from _bmps()
    yield from _webps()


def _image() -> Image.Image:
    """Something without any symmetry, in all colours."""
    small = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(small).resize(_SIZE, Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).polygon([(3, 2), (30, 9), (6, 30)], fill=(250, 40, 10))
    return image


def _transparent() -> Image.Image:
    image = _image().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").rotate(30).resize(_SIZE))
    return image


def _saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _exif(orientation: int, order: str = "<", *, wide: bool = False) -> bytes:
    """An EXIF block with a description, and the orientation as a short, or else as a long."""
    kind, value = ("I", 4) if wide else ("H2x", 3)
    entries = struct.pack(f"{order}HHII", 0x10E, 2, 12, 38)
    entries += struct.pack(f"{order}HHI{kind}", _ORIENTATION, value, 1, orientation)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", 2) + entries + bytes(4) + b"a thing, so\0"


def _jpegs() -> Iterator[tuple[str, bytes]]:
    image = _image()
    plain = _saved(image, "JPEG")
    yield "JPEG", plain
    yield "JPEG, progressive", _saved(image, "JPEG", progressive=True)
    yield "JPEG, colours at full resolution", _saved(image, "JPEG", subsampling=0)
    yield "JPEG, RGB", _saved(image, "JPEG", keep_rgb=True)
    yield "JPEG, grey", _saved(image.convert("L"), "JPEG")
    cmyk = _saved(image.convert("CMYK"), "JPEG")
    yield "JPEG, CMYK", cmyk
    at = cmyk.index(b"\xff\xee")
    yield "JPEG, CMYK without Adobe's marker", cmyk[:at] + cmyk[at + 16 :]
    for orientation in range(1, 9):
        yield f"JPEG, turned ({orientation})", _saved(image, "JPEG", exif=_exif(orientation))
    yield "JPEG, turned, big endian", _saved(image, "JPEG", exif=_exif(6, ">"))
    yield "JPEG, turned by a long", _saved(image, "JPEG", exif=_exif(8, wide=True))
    filler = b"".join(b"\xff\xe2\xff\xf0" + bytes(0xFFEE) for _ in range(2))
    turned = _saved(image, "JPEG", exif=_exif(6))
    at = turned.index(b"\xff\xe1")
    yield "JPEG, turned, EXIF late", turned[:at] + filler + turned[at:]
    yield "JPEG, turned by XMP", _saved(image, "JPEG", xmp=_XMP)
    yield "JPEG, damaged EXIF", _saved(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    # What only looks like an orientation: inside of a comment, before the real one.
    decoy = b"\x12\x01\x03\x00\x01\x00\x00\x00\x08"
    yield "JPEG, a comment like EXIF", turned[:2] + b"\xff\xfe\0\x0b" + decoy + turned[2:]
    yield (
        "JPEG, several images",
        _saved(image, "MPO", save_all=True, append_images=[image.rotate(180)]),
    )


def _png(bits: int, colours: int, rows: np.ndarray, *before: bytes, interlace: int = 0) -> bytes:
    """A PNG file of samples, uint16 [height, width, channels], as they are."""
    height, width, channels = rows.shape
    samples = rows.reshape(height, width * channels)
    if bits == 16:
        packed = samples.astype(">u2").view(np.uint8)
    else:
        single = (samples[..., np.newaxis] >> np.arange(bits)[::-1]) & 1
        packed = np.packbits(single.reshape(height, -1).astype(np.uint8), axis=1)
    filtered = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlace)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            *before,
            _chunk(b"IDAT", zlib.compress(filtered)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunk(png: bytes, chunk: bytes) -> bytes:
    return png[:33] + chunk + png[33:]


def _pngs() -> Iterator[tuple[str, bytes]]:
    image, random = _image(), np.random.default_rng(1)
    plain = _saved(image, "PNG")
    yield "PNG", plain
    yield "PNG, transparent", _saved(_transparent(), "PNG")
    yield "PNG, grey and transparent", _saved(_transparent().convert("LA"), "PNG")
    wide = np.asarray(_transparent()).astype(np.uint16) * 257 ^ 0x5A
    grey = wide[..., :1]
    for bits in (1, 2, 4, 8, 16):
        yield f"PNG, grey of {bits} bit", _png(bits, 0, grey >> (16 - bits))
        if bits < 16:
            palette = _chunk(b"PLTE", random.integers(0, 256, 3 << bits, np.uint8).tobytes())
            alphas = _chunk(b"tRNS", random.integers(0, 256, 1 << bits, np.uint8).tobytes())
            indices = grey >> (16 - bits)
            yield f"PNG, {2**bits} colours", _png(bits, 3, indices, palette)
            yield (
                f"PNG, {2**bits} colours, transparent",
                _png(bits, 3, indices, palette, alphas),
            )
        level = int((grey >> (16 - bits))[9, 9, 0])
        for name, value in (("a level", level), ("black", 0)):
            chunk = _chunk(b"tRNS", struct.pack(">H", value))
            yield (
                f"PNG, grey of {bits} bit, {name} clear",
                _png(bits, 0, grey >> (16 - bits), chunk),
            )
    yield "PNG of 16 bit", _png(16, 2, wide[..., :3])
    yield "PNG of 16 bit, transparent", _png(16, 6, wide)
    yield "PNG, grey of 16 bit, transparent", _png(16, 4, wide[..., [0, 3]])
    for bits, samples in ((8, wide[..., :3] >> 8), (16, wide[..., :3])):
        clear = _chunk(b"tRNS", struct.pack(">3H", *samples[9, 9].tolist()))
        yield f"PNG of {bits} bit, a colour clear", _png(bits, 2, samples, clear)
    for order in "<>":
        block = _exif(6, order)[6:]
        yield f"PNG, turned ({order})", _with_chunk(plain, _chunk(b"eXIf", block))
    end = plain.index(b"IEND") - 4
    last = _chunk(b"eXIf", _exif(3)[6:])
    yield "PNG, turned, EXIF at the end", plain[:end] + last + plain[end:]
    key = b"XML:com.adobe.xmp\0"
    yield "PNG, turned by XMP", _with_chunk(plain, _chunk(b"iTXt", key + bytes(4) + _XMP))
    yield (
        "PNG, turned by packed XMP",
        _with_chunk(plain, _chunk(b"iTXt", key + b"\1\0\0\0" + zlib.compress(_XMP))),
    )
    block = _exif(6)
    text = f"\nexif\n{len(block):8d}\n{block.hex()}\n".encode()
    key = b"Raw profile type exif\0"
    yield "PNG, turned by a text", _with_chunk(plain, _chunk(b"tEXt", key + text))
    packed = zlib.compress(text)
    yield "PNG, turned by a packed text", _with_chunk(plain, _chunk(b"zTXt", key + b"\0" + packed))
    frames = [_transparent().rotate(90), _transparent().rotate(45)]
    yield "PNG, animated", _saved(_transparent(), "PNG", save_all=True, append_images=frames)


def _gifs() -> Iterator[tuple[str, bytes]]:
    image = _image()
    plain = _saved(image.convert("P"), "GIF", interlace=False)
    yield "GIF", plain
    yield "GIF, interlaced", _saved(image.convert("P"), "GIF", interlace=True)
    yield "GIF, grey", _saved(image.convert("L"), "GIF")
    yield "GIF, 4 colours", _saved(image.quantize(4), "GIF")
    few = image.quantize(8)
    yield "GIF, transparent", _saved(few, "GIF", transparency=few.getpixel((9, 9)))
    frames = [image.rotate(90), image.rotate(45)]
    yield "GIF, animated", _saved(image, "GIF", save_all=True, append_images=frames)
    frames = [_transparent().rotate(45)]
    yield (
        "GIF, animated, transparent",
        _saved(_transparent(), "GIF", save_all=True, append_images=frames),
    )
    width, height = _SIZE
    screen = struct.pack("<HH", width + 9, height + 5)
    yield "GIF, first frame smaller", plain[:6] + screen + plain[10:]
    xmp = b"!\xff\x0bXMP DataXMP" + _XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    at = 13 + 3 * (2 << (plain[10] & 7))
    yield "GIF, turned by XMP", plain[:at] + xmp + plain[at:]


def _bmp(bits: int, rows: np.ndarray, header: bytes, *, palette: bytes = b"") -> bytes:
    """A BMP file of rows of bytes, uint8 [height, n], whose order is that of the file."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    offset = 14 + len(header) + len(palette)
    file = struct.pack("<2sIHHI", b"BM", offset + padded.size, 0, 0, offset)
    return file + header + palette + padded.tobytes()


def _info(bits: int, compression: int = 0, colours: int = 0, *, down: bool = False) -> bytes:
    width, height = _SIZE
    height = -height if down else height
    return struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)


def _version_5(bits: int, masks: tuple[int, int, int, int]) -> bytes:
    return struct.pack("<I", 124) + _info(bits, 3)[4:] + struct.pack("<4I", *masks) + bytes(68)


def _bmps() -> Iterator[tuple[str, bytes]]:
    image = _image()
    for mode in ("1", "L", "RGB"):
        yield f"BMP, {mode}", _saved(image.convert(mode), "BMP")
    levels = np.asarray(_transparent())[..., [2, 1, 0, 3]]
    colours = np.random.default_rng(2).integers(0, 256, (256, 4), np.uint8)
    for bits in (1, 4, 8):
        values = levels[..., 0] >> (8 - bits)
        single = (values[..., np.newaxis] >> np.arange(bits)[::-1]) & 1
        rows = np.packbits(single.reshape(len(values), -1), axis=1)
        palette = colours[: 1 << bits].tobytes()
        yield f"BMP of {2**bits} colours", _bmp(bits, rows, _info(bits), palette=palette)
        small = struct.pack("<IHHHH", 12, *_SIZE, 1, bits)
        palette = colours[: 1 << bits, :3].tobytes()
        yield f"BMP of {2**bits} colours, OS/2", _bmp(bits, rows, small, palette=palette)
    rows = levels[..., 0] // 7
    palette = colours[:37].tobytes()
    yield "BMP of 37 colours", _bmp(8, rows, _info(8, colours=37), palette=palette)
    flat = levels.reshape(len(levels), -1)
    yield "BMP, top down", _bmp(24, levels[..., :3].reshape(len(levels), -1), _info(24, down=True))
    yield "BMP of 32 bit", _bmp(32, flat, _info(32))
    standard = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "BMP of 32 bit, transparent", _bmp(32, flat, _version_5(32, standard))
    for masks in ((*standard[:3], 0), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)):
        name = f"BMP of 32 bit, masks {masks[0]:x} {masks[3]:x}"
        yield name, _bmp(32, flat, _version_5(32, masks))
    masks = struct.pack("<3I", 0xFF000000, 0xFF0000, 0xFF00)
    yield "BMP of 32 bit, three masks", _bmp(32, flat, _info(32, 3), palette=masks)
    wide = np.random.default_rng(3).integers(0, 256, (len(levels), 2 * _SIZE[0]), np.uint8)
    yield "BMP of 16 bit", _bmp(16, wide, _info(16))
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    yield "BMP of 16 bit, masks", _bmp(16, wide, _info(16, 3), palette=masks)
    runs = b"".join(bytes([_SIZE[0], row * 6]) + b"\0\0" for row in range(_SIZE[1])) + b"\0\1"
    header, palette = _info(8, 1), colours.tobytes()
    offset = 14 + len(header) + len(palette)
    file = struct.pack("<2sIHHI", b"BM", offset + len(runs), 0, 0, offset)
    yield "BMP, run lengths", file + header + palette + runs


def _webps() -> Iterator[tuple[str, bytes]]:
    image = _image()
    for name, lossless in (("", False), (", lossless", True)):
        yield f"WebP{name}", _saved(image, "WEBP", lossless=lossless)
        yield f"WebP{name}, transparent", _saved(_transparent(), "WEBP", lossless=lossless)
        yield f"WebP{name}, turned", _saved(image, "WEBP", lossless=lossless, exif=_exif(6))
    yield "WebP, transparent, turned", _saved(_transparent(), "WEBP", exif=_exif(7, ">"))
    yield "WebP, EXIF without its name", _saved(image, "WEBP", exif=_exif(8)[6:])
    yield "WebP, turned by XMP", _saved(image, "WEBP", xmp=_XMP)
    frames = [image.rotate(90), image.rotate(45)]
    yield "WebP, animated", _saved(image, "WEBP", save_all=True, append_images=frames)
    frames = [_transparent().rotate(45)]
    yield (
        "WebP, animated, transparent",
        _saved(_transparent(), "WEBP", save_all=True, append_images=frames),
    )
