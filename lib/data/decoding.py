"""Decodes image files to arrays of a fixed size.

The content decides what a file is, not its name. Every function here is safe to call from several
threads at once, and gains from it: Pillow lets go of the interpreter while it decodes and resizes.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import GifImagePlugin, Image, ImageOps, WebPImagePlugin

# Pillow loads the other formats by itself, with WebP only in a search through all its plugins.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", WebPImagePlugin.WebPImageFile.format)

# Room for the 108 million of large phone cameras; decoded, this many are half a gigabyte.
MAX_PIXELS = 128_000_000

# Pillow warns of damaged metadata and of sizes below our own limit; what matters it raises.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(ValueError):
    """These bytes are no image we can show; the message is a short reason."""


def decode(data: bytes) -> Image.Image:
    """Decodes one image, whole and upright.

    Args:
        data: a JPEG, PNG, GIF, BMP or WebP file. Of an animation the first frame is taken,
            transparent parts, and what a GIF's frame leaves open of its canvas, are laid on white,
            16 bit grey is scaled to 8 bit, and a rotation noted in EXIF is carried out.

    Returns:
        An image in mode RGB, of its own size.

    Raises:
        UnreadableImage: the data is empty, of no such format, damaged, cut short, or too large.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(f"{width} x {height}")
        image.load()
        if isinstance(image, GifImagePlugin.GifImageFile):
            frame = image.dispose_extent
            if frame != (0, 0, *image.size):
                return _on_canvas(_in_rgb(image), frame)
        _set_upright(image)
        return _in_rgb(image)
    except (UnreadableImage, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImage("not a JPEG, PNG, GIF, BMP or WebP image") from None
    except Image.DecompressionBombError:  # raised on opening, above Pillow's own limit
        raise _too_large("the image") from None
    except Exception as error:  # on damaged data the decoders raise whatever they trip over
        raise UnreadableImage(f"damaged or cut short: {error}") from error


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Scales an image to a square, bilinear and antialiased; the aspect is not kept.

    Args:
        image: an image in mode RGB.
        size: the side of the square, in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def load(path: Path, size: int) -> np.ndarray:
    """Reads, decodes and resizes one file.

    Args:
        path: the image file.
        size: the side of the square, in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        UnreadableImage: the file is no image.
        OSError: the file cannot be read.
    """
    return resize(decode(path.read_bytes()), size)


def _too_large(what: str) -> UnreadableImage:
    return UnreadableImage(f"{what} exceeds the limit of {MAX_PIXELS // 10**6} million pixels")


def _set_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        # The pixels are sound and only the EXIF block is not: shown as stored, as browsers do.
        pass


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":
        return _wide_grey_in_rgb(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        image = Image.alpha_composite(white, coloured)
    return image.convert("RGB")


def _on_canvas(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Whitens what a GIF's first frame leaves open, where Pillow has some colour of the palette.

    Args:
        image: in mode RGB.
        frame: left, upper, right and lower edge of what the frame covers, in pixels.
    """
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image.crop(frame), frame)
    return canvas


def _wide_grey_in_rgb(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 instead of scaling: nearly everything would be white.
    wide = np.asarray(image)
    grey = ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:  # one level of grey may stand for "nothing here"
        grey[wide == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
