"""The effects of a camera on a drawing: direction and colour of the light, focus and grain."""

from random import Random

from PIL import Image, ImageChops, ImageEnhance, ImageFilter


def photographed(drawing: Image.Image, rng: Random) -> Image.Image:
    """Returns `drawing` (RGB) under some light, a little out of focus, with noise."""
    image = ImageChops.multiply(drawing, _light(drawing.size, rng))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.95, 1.35))
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.75, 1.3))
    image = image.filter(ImageFilter.GaussianBlur(rng.choice([0.5, 0.7, 0.9, 1.1])))
    return _grainy(image, rng.uniform(0.0, 0.06), rng)


def _light(size: tuple[int, int], rng: Random) -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(rng.choice([0, 45, 135, 180, 225, 315]))
    ramp = ramp.crop((64, 64, 192, 192)).resize(size, Image.Resampling.BILINEAR)
    darkest = rng.uniform(130, 235)
    tint = [rng.uniform(0.85, 1.0) for _ in "RGB"]
    levels = [[round(t * (darkest + (255 - darkest) * v / 255)) for v in range(256)] for t in tint]
    return Image.merge("RGB", [ramp.point(level) for level in levels])


def _grainy(image: Image.Image, strength: float, rng: Random) -> Image.Image:
    count = image.width * image.height * 3
    first, second = (Image.frombytes("RGB", image.size, rng.randbytes(count)) for _ in range(2))
    # The mean of two uniform noises has a triangular distribution around 127.
    noise = ImageChops.add(first, second, scale=2)
    noise = noise.point([round(128 + (v - 127) * strength) for v in range(256)] * 3)
    return ImageChops.add(image, noise, offset=-128)
