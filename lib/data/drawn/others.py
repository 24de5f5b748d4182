"""The subjects the embedded weights learned from: animals and things, no cat and no dog.

Each fills about the square from -1 to 1, its bottom at 0.95.
"""

from collections.abc import Callable
from functools import partial
from random import Random

from lib.data.drawn.bodies import Animal, draw_animal, long_tail, short_tail, wagging_tail
from lib.data.drawn.canvas import Canvas, Colour, mix, oval, smooth
from lib.data.drawn.coats import BLACK, WHITE, furry, random_coat
from lib.data.drawn.other_heads import (
    bear_head,
    mouse_head,
    pig_head,
    rabbit_head,
)

_BRIGHT = [(214, 60, 56), (240, 150, 40), (246, 210, 70), (90, 170, 90), (60, 130, 200),
           (140, 90, 180), (240, 240, 235), (50, 60, 90), (230, 130, 170)]  # fmt: skip
_BROWNS = [(110, 76, 50), (140, 98, 60), (90, 66, 56)]


def _fish(canvas: Canvas, rng: Random) -> None:
    coat, high = random_coat(rng, _BRIGHT), rng.uniform(0.35, 0.6)
    tail = [(0.5, 0), (1, -0.5), (0.85, 0), (1, 0.5)]
    canvas.polygon(tail, coat.mark)
    canvas.blob([(-0.3, -high * 0.7), (0.1, -high * 1.5), (0.4, -high * 0.6)], coat.mark)
    body = [
        (-0.9, 0),
        (-0.4, -high),
        (0.2, -high * 0.8),
        (0.65, 0),
        (0.2, high * 0.8),
        (-0.4, high),
    ]
    furry(canvas, smooth(body), coat, rng)
    _dot_eye(canvas, -0.6, -0.1, 0.12)
    canvas.polygon([(-0.1, 0.1), (0.25, 0.0), (0.2, 0.3)], coat.mark)


def _bird(canvas: Canvas, rng: Random) -> None:
    coat, lift = random_coat(rng, _BRIGHT), rng.uniform(-0.4, 0.4)
    for x in (-0.1, 0.15):
        canvas.stroke([(x, 0.5), (x, 0.92)], 0.06, (220, 140, 50))
    canvas.polygon([(0.4, 0.1), (1.0, -0.1 + lift), (0.95, 0.2 + lift)], coat.mark)
    canvas.polygon([(-0.7, -0.5), (-1.0, -0.35), (-0.68, -0.25)], (240, 160, 40))
    body = [(-0.75, -0.45), (-0.45, -0.75), (-0.15, -0.4), (0.5, 0.1), (0.2, 0.6), (-0.4, 0.5)]
    furry(canvas, smooth(body), coat, rng)
    canvas.blob([(-0.2, 0.0), (0.3, -0.1), (0.6, 0.2 + lift), (0.1, 0.35)], coat.mark)
    _dot_eye(canvas, -0.5, -0.45, 0.1)


def _butterfly(canvas: Canvas, rng: Random) -> None:
    coat, wide = random_coat(rng, _BRIGHT), rng.uniform(0.6, 1.0)
    for side in (-1, 1):
        for wing in (
            [(0, 0), (0.4, -0.8), (1, -0.8), (0.8, 0)],
            [(0, 0), (0.7, 0.1), (0.6, 0.8), (0.2, 0.6)],
        ):
            furry(canvas, smooth([(side * wide * x, y) for x, y in wing]), coat, rng)
        canvas.ellipse(side * wide * 0.65, -0.45, 0.13, 0.13, coat.pale)
        canvas.stroke([(0, -0.4), (side * 0.2, -0.8)], 0.03, BLACK)
    canvas.ellipse(0, 0, 0.09, 0.5, BLACK)


def _turtle(canvas: Canvas, rng: Random) -> None:
    coat, skin = random_coat(rng, _BRIGHT), mix((100, 150, 80), (160, 150, 90), rng.random())
    for x in (-0.5, 0.4):
        canvas.ellipse(x, 0.75, 0.17, 0.2, skin)
    canvas.stroke([(-0.5, 0.5), (-0.8, 0.2)], 0.2, skin)
    canvas.ellipse(-0.82, 0.1, 0.2, 0.18, skin)
    _dot_eye(canvas, -0.88, 0.05, 0.06)
    high = rng.uniform(-0.5, -0.1)
    shell = [(-0.7, 0.65), (-0.5, 0.1), (0, high), (0.5, 0.1), (0.75, 0.65)]
    furry(canvas, smooth(shell), coat, rng)
    for x in (-0.3, 0.05, 0.4):
        canvas.ellipse(x, 0.3, 0.13, 0.13, coat.mark)


def _snail(canvas: Canvas, rng: Random) -> None:
    coat, skin = random_coat(rng, _BRIGHT), mix((220, 190, 140), (150, 130, 120), rng.random())
    canvas.stroke([(0.9, 0.85), (0.0, 0.8), (-0.6, 0.75), (-0.8, 0.2)], 0.25, skin)
    for tip in (-0.95, -0.65):
        canvas.stroke([(-0.8, 0.2), (tip, -0.2)], 0.05, skin)
        canvas.ellipse(tip, -0.2, 0.06, 0.06, BLACK)
    furry(canvas, oval(0.15, 0.2, 0.6, 0.6), coat, rng)
    for r in (0.42, 0.25, 0.1):
        canvas.stroke([*oval(0.18, 0.22, r, r), (0.18 + r, 0.22)], 0.05, coat.dark)


def _house(canvas: Canvas, rng: Random) -> None:
    wall, roof = rng.sample(_BRIGHT, 2)
    top, wide = rng.uniform(-0.3, 0.2), rng.uniform(0.55, 0.85)
    _box(canvas, -wide, top, wide, 0.95, wall)
    _box(canvas, 0.3, -0.9, 0.5, top, roof)
    canvas.polygon([(-wide - 0.15, top), (rng.uniform(-0.2, 0.2), -0.9), (wide + 0.15, top)], roof)
    _box(canvas, -0.15, 0.4, 0.15, 0.95, rng.choice(_BROWNS))
    for x in (-0.45, 0.45):
        _box(canvas, x - 0.13, top + 0.15, x + 0.13, top + 0.42, (190, 220, 240))


def _car(canvas: Canvas, rng: Random) -> None:
    paint, roof = rng.choice(_BRIGHT), rng.uniform(-0.4, -0.1)
    canvas.blob([(-0.6, 0.3), (-0.4, roof), (0.3, roof), (0.65, 0.3)], paint)
    canvas.blob(
        [(-0.42, 0.25), (-0.3, roof + 0.12), (0.2, roof + 0.12), (0.45, 0.25)], (190, 220, 240)
    )
    canvas.blob([(-1, 0.3), (0, 0.2), (0.95, 0.3), (0.95, 0.7), (-1, 0.7)], paint)
    for x in (-0.55, 0.55):
        canvas.ellipse(x, 0.72, 0.23, 0.23, BLACK)
        canvas.ellipse(x, 0.72, 0.1, 0.1, (190, 190, 195))
    canvas.ellipse(-0.93, 0.45, 0.07, 0.09, (255, 240, 170))


def _flower(canvas: Canvas, rng: Random) -> None:
    coat, petals = random_coat(rng, _BRIGHT), rng.randrange(5, 10)
    canvas.stroke([(0, -0.3), (rng.uniform(-0.15, 0.15), 0.4), (0, 0.95)], 0.09, (80, 140, 60))
    for side in (-1, 1):
        canvas.ellipse(side * 0.25, 0.6, 0.28, 0.1, (90, 150, 70), turn=-side * 0.5)
    for x, y in oval(0, -0.35, 0.36, 0.36)[:: 32 // petals]:
        furry(canvas, oval(x, y, 0.21, 0.21), coat, rng)
    canvas.ellipse(0, -0.35, 0.2, 0.2, coat.mark)


def _box(
    canvas: Canvas, left: float, top: float, right: float, bottom: float, fill: Colour
) -> None:
    canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)


def _dot_eye(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.ellipse(x, y, size, size, WHITE)
    canvas.ellipse(x - size * 0.2, y, size * 0.6, size * 0.6, BLACK)


OTHERS: dict[str, Callable[[Canvas, Random], None]] = {
    "bear": partial(draw_animal, animal=Animal(bear_head, short_tail)),
    "bird": _bird,
    "butterfly": _butterfly,
    "car": _car,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "mouse": partial(draw_animal, animal=Animal(mouse_head, long_tail)),
    "pig": partial(draw_animal, animal=Animal(pig_head, wagging_tail)),
    "rabbit": partial(draw_animal, animal=Animal(rabbit_head, short_tail)),
    "snail": _snail,
    "turtle": _turtle,
}
