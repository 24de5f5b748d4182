"""Fur: its colours, its pattern, its strands, and a shape covered with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from lib.data.drawn.canvas import Canvas, Colour, Point, mix

BLACK, WHITE = (30, 26, 28), (250, 247, 240)

FURS = [
    (214, 130, 60),  # ginger
    (236, 208, 164),  # cream
    (60, 55, 58),  # black
    (240, 236, 228),  # white
    (146, 148, 156),  # grey
    (104, 114, 130),  # blue
    (128, 88, 58),  # brown
    (86, 60, 48),  # chocolate
    (224, 178, 104),  # golden
    (192, 190, 188),  # silver
]
PATTERNS = ("plain", "stripes", "patches", "spots", "bib", "saddle")


@dataclass(frozen=True)
class Coat:
    """The fur of one animal."""

    base: Colour
    mark: Colour  # of stripes, spots and patches
    pale: Colour  # of muzzle, chest and paws
    pattern: str
    fluff: float  # length of the strands that stand out from the outline
    ink: float  # width of the line around each part; 0 for none

    @property
    def dark(self) -> Colour:
        """The colour of lines and of parts in the shade."""
        return mix(self.base, BLACK, 0.45)


def random_coat(
    rng: Random, colours: Sequence[Colour] = FURS, patterns: Sequence[str] = PATTERNS
) -> Coat:
    """Returns a coat with some of the `colours` and one of the `patterns`."""
    base = rng.choice(colours)
    # Marks that hardly differ from the base would not be seen.
    mark = rng.choice([c for c in colours if abs(sum(c) - sum(base)) > 120])
    return Coat(
        base=base,
        mark=mark,
        pale=mix(base, WHITE, rng.choice([0.25, 0.6, 0.95])),
        pattern=rng.choice(patterns),
        fluff=rng.choice([0.0, 0.0, 0.03, 0.06]),
        ink=rng.choice([0.0, 0.025, 0.04]),
    )


def furry(canvas: Canvas, outline: Sequence[Point], coat: Coat, rng: Random) -> None:
    """Fills `outline` with fur: base colour, pattern, a shaded side and single strands.

    Args:
        canvas: where to draw.
        outline: a dense closed curve, such as `smooth` or `oval` return.
        coat: the fur.
        rng: where pattern and strands fall.
    """
    outline = _tufted(outline, coat.fluff, rng)
    canvas.polygon(outline, coat.base)
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    half = ((max(xs) - min(xs)) / 2, (max(ys) - min(ys)) / 2)
    with canvas.inside(outline):
        if coat.pattern != "plain":
            _PAINT[coat.pattern](canvas, middle, half, coat, rng)
        _shade(canvas, middle, half)
        _strands(canvas, middle, half, rng)
    if coat.ink:
        canvas.stroke([*outline, outline[0]], coat.ink, coat.dark)


def _tufted(outline: Sequence[Point], depth: float, rng: Random) -> list[Point]:
    if not depth:
        return list(outline)
    x0 = sum(x for x, _ in outline) / len(outline)
    y0 = sum(y for _, y in outline) / len(outline)
    tufts = []
    for i, (x, y) in enumerate(outline):
        out = 1 + (rng.uniform(0.5, 2) * depth if i % 2 else 0)
        tufts.append((x0 + (x - x0) * out, y0 + (y - y0) * out))
    return tufts


def _shade(canvas: Canvas, middle: Point, half: Point) -> None:
    (x, y), (w, h) = middle, half
    for depth in (0.45, 0.6, 0.75):
        edge = [(x - w, y + h * (depth + 0.2)), (x, y + h * (depth + 0.15)),
                (x + w, y + h * (depth - 0.3))]  # fmt: skip
        below = [(x + w * 1.2, y + h * 1.3), (x - w * 1.2, y + h * 1.3)]
        canvas.blob(edge + below, (20, 10, 40, 16))
    canvas.ellipse(x - w * 0.35, y - h * 0.5, w * 0.5, h * 0.35, (255, 250, 235, 30))


def _strands(canvas: Canvas, middle: Point, half: Point, rng: Random) -> None:
    (x, y), (w, h) = middle, half
    for _ in range(rng.randrange(8, 30)):
        px, py = x + rng.uniform(-w, w), y + rng.uniform(-h, h)
        tone = rng.choice([(255, 250, 240, 60), (20, 10, 20, 50)])
        canvas.polygon([(px, py), (px + w * 0.03, py), (px + w * 0.02, py + h * 0.14)], tone)


def _stripes(canvas: Canvas, middle: Point, half: Point, coat: Coat, rng: Random) -> None:
    (x, y), (w, h) = middle, half
    for i in range(-3, 4):
        px = x + (i + rng.uniform(-0.2, 0.2)) * w * 0.3
        reach = y - h + h * rng.uniform(0.7, 1.3)
        points = [(px, y - h * 1.1), (px + w * 0.08, y - h * 0.5), (px - w * 0.05, reach)]
        canvas.stroke(points, w * 0.1, coat.mark)
    for side in (-1, 1):
        for level in (0.1, 0.35, 0.6):
            points = [(x + side * w * 1.1, y + h * level), (x + side * w * 0.6, y + h * level)]
            canvas.stroke(points, w * 0.08, coat.mark)


def _patches(canvas: Canvas, middle: Point, half: Point, coat: Coat, rng: Random) -> None:
    for _ in range(3):
        _patch(canvas, middle, half, rng.uniform(0.3, 0.6), coat.mark, rng)
    _patch(canvas, middle, half, 0.3, coat.pale, rng)


def _spots(canvas: Canvas, middle: Point, half: Point, coat: Coat, rng: Random) -> None:
    for _ in range(12):
        _patch(canvas, middle, half, rng.uniform(0.06, 0.16), coat.mark, rng)


def _patch(
    canvas: Canvas, middle: Point, half: Point, size: float, colour: Colour, rng: Random
) -> None:
    (x, y), (w, h) = middle, half
    x, y = x + rng.uniform(-w, w), y + rng.uniform(-h, h * 0.5)
    r = min(w, h) * size
    canvas.blob(
        [(x + r * dx * rng.uniform(0.7, 1.3), y + r * dy * rng.uniform(0.7, 1.3))
         for dx, dy in ((-1, 0), (-0.5, -0.9), (0.5, -0.9), (1, 0), (0.5, 0.9), (-0.5, 0.9))],
        colour,
    )  # fmt: skip


def _bib(canvas: Canvas, middle: Point, half: Point, coat: Coat, rng: Random) -> None:
    (x, y), (w, h) = middle, half
    bottom = y + h * 1.2
    top = y + h * rng.uniform(-0.8, 0.1)
    canvas.blob([(x, top), (x + w * 0.5, y + h * 0.5), (x + w * 0.6, bottom),
                 (x - w * 0.6, bottom), (x - w * 0.5, y + h * 0.5)], coat.pale)  # fmt: skip


def _saddle(canvas: Canvas, middle: Point, half: Point, coat: Coat, rng: Random) -> None:
    (x, y), (w, h) = middle, half
    canvas.ellipse(x + rng.uniform(-0.3, 0.3) * w, y - h, w * 1.1, h * 0.9, coat.mark)


_PAINT = {
    "stripes": _stripes,
    "patches": _patches,
    "spots": _spots,
    "bib": _bib,
    "saddle": _saddle,
}
