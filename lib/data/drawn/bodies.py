"""Four-legged bodies: portrait, sitting, standing and lying, for whichever head is put on them.

Every pose fills about the square from -1 to 1, its feet at the bottom.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from lib.data.drawn.canvas import Canvas, Point, oval, smooth
from lib.data.drawn.coats import PATTERNS, Coat, furry, random_coat
from lib.data.drawn.heads import Head

Tail = Callable[[Canvas, Coat, float, float, Random], None]

_COLLARS = [(200, 50, 50), (40, 110, 180), (240, 190, 40), (60, 150, 90)]


@dataclass(frozen=True)
class Animal:
    """What makes one four-legged animal differ from another."""

    head: Head
    tail: Tail
    patterns: Sequence[str] = PATTERNS  # of the coat; one named twice is twice as frequent


def draw_animal(canvas: Canvas, rng: Random, animal: Animal) -> None:
    """Draws the animal with a coat and in a pose of its own."""
    pose = rng.choice([_portrait, _sitting, _standing, _lying])
    pose(canvas, animal, random_coat(rng, patterns=animal.patterns), rng)


def long_tail(canvas: Canvas, coat: Coat, x: float, y: float, rng: Random) -> None:
    """Draws a long tail that starts at (x, y), its end curled up or down."""
    lift = rng.uniform(-0.9, 0.2)
    points = [(x, y), (x + 0.3, y + 0.1), (x + 0.5, y + lift * 0.5), (x + 0.35, y + lift)]
    _limb(canvas, points, 0.15, coat)


def wagging_tail(canvas: Canvas, coat: Coat, x: float, y: float, rng: Random) -> None:
    """Draws a shorter tail that starts at (x, y), held up or rolled over the back."""
    bend = rng.uniform(-0.3, 0.25)
    _limb(canvas, [(x, y), (x + 0.25, y - 0.25), (x + 0.2 + bend, y - 0.55)], 0.17, coat)


def short_tail(canvas: Canvas, coat: Coat, x: float, y: float, rng: Random) -> None:
    """Draws a round tuft at (x, y)."""
    furry(canvas, oval(x + 0.12, y, 0.16, 0.15), coat, rng)


def _portrait(canvas: Canvas, animal: Animal, coat: Coat, rng: Random) -> None:
    shoulders = [(-0.35, 0.1), (0.35, 0.1), (0.75, 0.6), (0.8, 2.0), (-0.8, 2.0), (-0.75, 0.6)]
    furry(canvas, smooth(shoulders), coat, rng)
    _collar(canvas, 0, 0.72, 0.5, rng)
    _put_head(canvas, animal, coat, 0, -0.05, rng.uniform(0.68, 0.8), rng)


def _sitting(canvas: Canvas, animal: Animal, coat: Coat, rng: Random) -> None:
    width = rng.uniform(0.42, 0.55)
    animal.tail(canvas, coat, width * 0.8, 0.75, rng)
    body = [(-0.2, -0.3), (0.2, -0.3), (width * 0.85, 0.2), (width * 1.1, 0.75),
            (width * 0.7, 0.95), (-width * 0.7, 0.95), (-width * 1.1, 0.75),
            (-width * 0.85, 0.2)]  # fmt: skip
    furry(canvas, smooth(body), coat, rng)
    for side in (-1, 1):
        _paw(canvas, coat, side * width * 0.95, 0.9)
        _limb(canvas, [(side * 0.17, 0.35), (side * 0.16, 0.85)], 0.2, coat)
        _paw(canvas, coat, side * 0.18, 0.92)
    _collar(canvas, 0, 0.18, 0.28, rng)
    _put_head(canvas, animal, coat, 0, -0.35, rng.uniform(0.5, 0.6), rng)


def _standing(canvas: Canvas, animal: Animal, coat: Coat, rng: Random) -> None:
    legs, stride = rng.uniform(0.3, 0.5), rng.uniform(-0.1, 0.1)
    hip = 0.9 - legs
    animal.tail(canvas, coat, 0.6, hip - 0.3, rng)
    for x in (-0.35, 0.42):
        _limb(canvas, [(x, hip - 0.1), (x + stride, 0.9)], 0.17, _shaded(coat))
    body = [(-0.65, hip - 0.45), (0, hip - 0.4), (0.6, hip - 0.4), (0.68, hip - 0.1),
            (0.45, hip + 0.08), (0, hip + 0.02), (-0.45, hip + 0.1),
            (-0.72, hip - 0.1)]  # fmt: skip
    furry(canvas, smooth(body), coat, rng)
    for x in (-0.5, 0.55):
        _limb(canvas, [(x, hip - 0.1), (x - stride, 0.88)], 0.18, coat)
        _paw(canvas, coat, x - stride - 0.04, 0.92)
    _put_head(canvas, animal, coat, -0.5, hip - 0.62, rng.uniform(0.46, 0.54), rng)


def _lying(canvas: Canvas, animal: Animal, coat: Coat, rng: Random) -> None:
    animal.tail(canvas, coat, 0.65, 0.7, rng)
    height = rng.uniform(-0.05, 0.25)
    body = [(-0.7, height + 0.15), (-0.1, height), (0.5, height + 0.05), (0.88, 0.6), (0.8, 0.95),
            (-0.7, 0.95), (-0.85, 0.6)]  # fmt: skip
    furry(canvas, smooth(body), coat, rng)
    for x in (-0.55, -0.2):
        _paw(canvas, coat, x, 0.93)
    _put_head(canvas, animal, coat, -0.35, height - 0.05, rng.uniform(0.52, 0.62), rng)


def _put_head(
    canvas: Canvas, animal: Animal, coat: Coat, x: float, y: float, size: float, rng: Random
) -> None:
    with canvas.at(x, y, size, turn=rng.uniform(-0.25, 0.25)):
        animal.head(canvas, coat, rng)


def _limb(canvas: Canvas, points: list[Point], width: float, coat: Coat) -> None:
    if coat.ink:
        canvas.stroke(points, width + 2 * coat.ink, coat.dark)
    canvas.stroke(points, width, coat.base)


def _paw(canvas: Canvas, coat: Coat, x: float, y: float) -> None:
    canvas.ellipse(x, y, 0.16 + coat.ink, 0.09 + coat.ink, coat.dark)
    canvas.ellipse(x, y, 0.16, 0.09, coat.pale)
    for dx in (-0.05, 0.05):
        canvas.stroke([(x + dx, y - 0.01), (x + dx, y + 0.06)], 0.02, coat.dark)


def _collar(canvas: Canvas, x: float, y: float, half: float, rng: Random) -> None:
    if rng.random() < 0.4:
        points = [(x - half, y - 0.08), (x, y + 0.06), (x + half, y - 0.08)]
        canvas.stroke(points, 0.1, rng.choice(_COLLARS))
        canvas.ellipse(x, y + 0.14, 0.07, 0.07, (240, 200, 80))


def _shaded(coat: Coat) -> Coat:
    return Coat(coat.dark, coat.mark, coat.pale, coat.pattern, coat.fluff, coat.ink)
