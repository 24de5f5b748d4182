"""A canvas for shapes: smooth curves in coordinates that can be moved, turned and scaled.

```
canvas = Canvas(200, 160)
with canvas.at(0.2, 0.1, scale=0.5, turn=0.1):
    canvas.ellipse(0, 0, 1, 0.8, (214, 130, 60))
    with canvas.inside(oval(0, 0, 1, 0.8)):
        canvas.stroke([(-1, 0), (0, 0.2), (1, 0)], 0.1, (0, 0, 0, 80))
image = canvas.developed()
```
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, ...]  # (red, green, blue) or (red, green, blue, opacity), each 0 to 255

_SUPERSAMPLING = 2
_STEPS_PER_SEGMENT = 6
_CIRCLE = [(math.cos(math.tau * i / 32), math.sin(math.tau * i / 32)) for i in range(32)]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the opaque colour that is `share` of the way from `first` to `second`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first[:3], second[:3], strict=True))


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> list[Point]:
    """Returns the outline of an ellipse around (x, y), turned by `turn` radians."""
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x + rx * u * cos - ry * v * sin, y + rx * u * sin + ry * v * cos) for u, v in _CIRCLE]


def smooth(points: Sequence[Point], closed: bool = True) -> list[Point]:
    """Returns a dense Catmull-Rom curve through `points`."""
    count = len(points)
    curve = []
    for i in range(count if closed else count - 1):
        # An open curve has no neighbour beyond its ends; the end itself stands in for it.
        neighbours = (i - 1, i, i + 1, i + 2)
        if not closed:
            neighbours = tuple(min(max(j, 0), count - 1) for j in neighbours)
        p, q, r, s = (points[j % count] for j in neighbours)
        for step in range(_STEPS_PER_SEGMENT):
            t = step / _STEPS_PER_SEGMENT
            curve.append(tuple(_spline(p[k], q[k], r[k], s[k], t) for k in (0, 1)))
    return curve if closed else [*curve, points[-1]]


def _spline(p: float, q: float, r: float, s: float, t: float) -> float:
    return q + 0.5 * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)))


class Canvas:
    """An image in the making.

    The origin is the middle of the image, y points down, and one unit is half the longer side:
    whatever covers the square from -1 to 1 covers the image.
    """

    def __init__(self, width: int, height: int):
        """Starts a black image of `width` times `height` pixels."""
        unit = max(width, height) / 2
        self.half_width, self.half_height = width / 2 / unit, height / 2 / unit
        self._size = (width, height)
        self._show(Image.new("RGB", (width * _SUPERSAMPLING, height * _SUPERSAMPLING)))
        unit *= _SUPERSAMPLING
        # (a, b, c, d, e, f): (x, y) is drawn at pixel (a x + b y + c, d x + e y + f).
        self._frame = (unit, 0.0, self.half_width * unit, 0.0, unit, self.half_height * unit)

    @contextmanager
    def at(
        self, x: float, y: float, scale: float = 1.0, turn: float = 0.0, mirror: bool = False
    ) -> Iterator[None]:
        """Within the block the origin is (x, y), turned by `turn` radians, `scale` units long."""
        before = self._frame
        a, b, c, d, e, f = before
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        flip = -1 if mirror else 1
        self._frame = (
            flip * (a * cos + b * sin),
            b * cos - a * sin,
            a * x + b * y + c,
            flip * (d * cos + e * sin),
            e * cos - d * sin,
            d * x + e * y + f,
        )
        yield
        self._frame = before

    @contextmanager
    def inside(self, outline: Sequence[Point]) -> Iterator[None]:
        """Within the block only what falls inside the polygon `outline` is drawn."""
        below = self._image
        mask = Image.new("L", below.size)
        ImageDraw.Draw(mask).polygon(self._pixels(outline), fill=255)
        self._show(below.copy())
        yield
        below.paste(self._image, mask=mask)
        self._show(below)

    def polygon(self, outline: Sequence[Point], fill: Colour) -> None:
        """Fills the polygon `outline`."""
        self._pen.polygon(self._pixels(outline), fill=fill)

    def blob(self, points: Sequence[Point], fill: Colour) -> None:
        """Fills the smooth closed curve through `points`."""
        self.polygon(smooth(points), fill)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, turn: float = 0.0
    ) -> None:
        """Fills an ellipse around (x, y) with the half axes `rx` and `ry`."""
        self.polygon(oval(x, y, rx, ry, turn), fill)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draws a smooth line through `points`, with round ends where the colour is opaque."""
        a, b, *_ = self._frame
        pixels = max(1, round(width * math.hypot(a, b)))
        line = self._pixels(smooth(points, closed=False))
        self._pen.line(line, fill=fill, width=pixels, joint="curve")
        if len(fill) == 3 and pixels > 2:
            for x, y in (line[0], line[-1]):
                r = pixels // 2
                self._pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def developed(self) -> Image.Image:
        """Returns the image in its final size, edges smoothed."""
        return self._image.resize(self._size, Image.Resampling.BOX)

    def _show(self, image: Image.Image) -> None:
        self._image = image
        self._pen = ImageDraw.Draw(image, "RGBA")  # this mode blends colours that have an opacity

    def _pixels(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        # Whole pixels: the last bits of a sine differ between machines, the image must not.
        a, b, c, d, e, f = self._frame
        return [(round(a * x + b * y + c), round(d * x + e * y + f)) for x, y in points]
