"""Faces, in coordinates whose unit is the radius of the skull: the cat's and the dog's."""

from collections.abc import Callable
from random import Random

from lib.data.drawn.canvas import Canvas, Colour, Point, mix, oval, smooth
from lib.data.drawn.coats import BLACK, WHITE, Coat, furry

Head = Callable[[Canvas, Coat, Random], None]

PINK = (232, 148, 150)
_CAT_EYES = [(126, 176, 84), (214, 168, 52), (92, 156, 196), (180, 120, 50)]
_DOG_EYES = [(92, 58, 32), (58, 38, 28), (120, 80, 40), (110, 160, 190)]


def cat_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a cat's face: pointed ears, wide cheeks, big eyes, a small nose and whiskers."""
    look = rng.uniform(-0.3, 0.3)
    spread, height = rng.uniform(0.75, 0.95), rng.uniform(1.15, 1.45)
    for side in (-1, 1):
        pointed_ear(canvas, side, spread, height, rng.uniform(0.6, 0.75), coat, rng)
    cheek = rng.uniform(0.95, 1.15)
    furry(canvas, skull(0.8, cheek, 0.8), coat, rng)
    eyes(canvas, look, 0.42, -0.1, rng.uniform(0.17, 0.24), rng.choice(_CAT_EYES), rng, slit=True)
    for side in (-1, 1):
        canvas.ellipse(look + side * 0.19, 0.42, 0.24, 0.19, coat.pale)
    nose = rng.choice([PINK, mix(PINK, BLACK, 0.6)])
    canvas.polygon([(look - 0.12, 0.2), (look + 0.12, 0.2), (look, 0.33)], nose)
    smile(canvas, look, 0.33, 0.2, rng)
    _whiskers(canvas, look, rng)


def dog_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a dog's face: hanging or upright ears, a long muzzle, a big nose, maybe a tongue."""
    look = rng.uniform(-0.3, 0.3)
    ears = rng.choice([_hanging_ear] * 7 + [_folded_ear] * 2 + [_upright_ear])
    size = rng.uniform(0.85, 1.25)
    if ears is not _hanging_ear:
        for side in (-1, 1):
            ears(canvas, side, size, coat, rng)
    furry(canvas, skull(0.85, rng.uniform(0.8, 0.95), 0.85), coat, rng)
    if ears is _hanging_ear:
        shade = rng.choice([coat, _recoloured(coat)])
        for side in (-1, 1):
            _hanging_ear(canvas, side, size, shade, rng)
    eyes(canvas, look * 0.7, 0.36, -0.15, rng.uniform(0.12, 0.19), rng.choice(_DOG_EYES), rng)
    _long_muzzle(canvas, look, rng.uniform(0.75, 1.15), coat, rng)


def skull(crown: float, cheek: float, chin: float) -> list[Point]:
    """Returns the outline of a head about 1 wide to each side: its top, half width and chin."""
    return smooth(
        [(0, -crown), (0.6, -crown * 0.8), (0.92, -0.2), (cheek, 0.3), (0.55, chin * 0.85),
         (0, chin), (-0.55, chin * 0.85), (-cheek, 0.3), (-0.92, -0.2), (-0.6, -crown * 0.8)]
    )  # fmt: skip


def pointed_ear(
    canvas: Canvas, side: int, x: float, height: float, width: float, coat: Coat, rng: Random
) -> None:
    """Draws an upright triangular ear whose tip is at (side * x, -height)."""
    inner, outer, tip = side * (x - width), side * min(x + 0.1, 0.98), (side * x, -height)
    furry(canvas, [(inner, -0.55), tip, (outer, -0.1)], coat, rng)
    middle = ((inner + outer + tip[0]) / 3, (-0.65 - height) / 3)
    pull = 0.55
    canvas.polygon(
        [(middle[0] + (px - middle[0]) * pull, middle[1] + (py - middle[1]) * pull)
         for px, py in ((inner, -0.55), tip, (outer, -0.1))],
        mix(PINK, coat.base, 0.3),
    )  # fmt: skip


def _upright_ear(canvas: Canvas, side: int, size: float, coat: Coat, rng: Random) -> None:
    pointed_ear(canvas, side, 0.72, 1.2 * size, 0.6, coat, rng)


def _hanging_ear(canvas: Canvas, side: int, size: float, coat: Coat, rng: Random) -> None:
    reach = -0.2 + 0.85 * size
    outline = [(0.5, -0.78), (0.95, -0.65), (1.2, 0.3 * reach), (1.1, reach), (0.85, reach * 0.9),
               (0.72, 0.0)]  # fmt: skip
    furry(canvas, smooth([(side * x, y) for x, y in outline]), coat, rng)


def _folded_ear(canvas: Canvas, side: int, size: float, coat: Coat, rng: Random) -> None:
    base = [(0.25, -0.6), (0.5, -1.15 * size), (0.95, -1.0 * size), (0.9, -0.3)]
    flap = [(0.42, -1.1 * size), (1.0, -1.0 * size), (1.15, -0.5 * size), (0.75, -0.75 * size)]
    furry(canvas, smooth([(side * x, y) for x, y in base]), coat, rng)
    furry(canvas, smooth([(side * x, y) for x, y in flap]), _recoloured(coat), rng)


def _recoloured(coat: Coat) -> Coat:
    return Coat(coat.mark, coat.base, coat.pale, "plain", coat.fluff, coat.ink)


def eyes(
    canvas: Canvas,
    look: float,
    apart: float,
    y: float,
    size: float,
    iris: Colour,
    rng: Random,
    slit: bool = False,
) -> None:
    """Draws two eyes around (look, y), each `size` large; now and then they are closed."""
    closed = rng.random() < 0.1
    pupil = rng.uniform(0.25, 0.8) if slit else 0.65
    for side in (-1, 1):
        x = look * 0.7 + side * apart
        if closed:
            canvas.stroke([(x - size, y), (x, y + size * 0.6), (x + size, y)], 0.07, BLACK)
            continue
        canvas.ellipse(x, y, size * 1.2, size * 1.15, BLACK)
        canvas.ellipse(x, y, size, size, iris)
        canvas.ellipse(x + look * 0.2, y, size * pupil, size * 0.85, BLACK)
        canvas.ellipse(x - size * 0.35, y - size * 0.4, size * 0.28, size * 0.28, WHITE)


def smile(canvas: Canvas, x: float, y: float, width: float, rng: Random) -> None:
    """Draws a mouth below a nose that ends at (x, y)."""
    depth = rng.uniform(0.1, 0.25)
    canvas.stroke([(x, y), (x, y + 0.12)], 0.04, BLACK)
    for side in (-1, 1):
        points = [(x, y + 0.12), (x + side * width * 0.6, y + 0.12 + depth * 0.7),
                  (x + side * width * 1.3, y + 0.12)]  # fmt: skip
        canvas.stroke(points, 0.04, BLACK)


def _whiskers(canvas: Canvas, look: float, rng: Random) -> None:
    droop = rng.uniform(-0.15, 0.25)
    colour = (*rng.choice([WHITE, BLACK]), 190)
    for side in (-1, 1):
        for level in (-0.12, 0.0, 0.12):
            start = (look + side * 0.25, 0.42 + level * 0.6)
            end = (look + side * rng.uniform(1.0, 1.3), 0.4 + level * 2.2 + droop)
            bend = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.06)
            canvas.stroke([start, bend, end], 0.035, colour)


def _long_muzzle(canvas: Canvas, look: float, length: float, coat: Coat, rng: Random) -> None:
    tip = 0.3 * length + 0.05
    if rng.random() < 0.4:
        x = look * 1.3 + rng.uniform(-0.08, 0.08)
        canvas.blob([(x - 0.17, 0.55), (x + 0.17, 0.55), (x + 0.19, 0.95), (x, 0.95 + 0.3 * length),
                     (x - 0.19, 0.95)], (226, 104, 116))  # fmt: skip
    wide = rng.uniform(0.42, 0.55)
    x = look * 1.3
    bridge = [(look * 0.7 - 0.2, -0.3), (look * 0.7 + 0.2, -0.3)]
    snout = [(x + wide, tip + 0.1), (x + wide * 0.75, tip + 0.5), (x, tip + 0.55),
             (x - wide * 0.75, tip + 0.5), (x - wide, tip + 0.1)]  # fmt: skip
    canvas.blob(bridge + snout, mix(coat.pale, BLACK, 0.35))
    canvas.blob([(px * 0.96 + x * 0.04, py - 0.03) for px, py in bridge + snout], coat.pale)
    canvas.polygon(oval(x, tip, 0.28, 0.2), mix(coat.dark, BLACK, 0.8))
    canvas.ellipse(x - 0.07, tip - 0.06, 0.07, 0.04, (255, 255, 255, 150))
    smile(canvas, x, tip + 0.15, 0.28, rng)
