"""Faces of the other four-legged animals, in the coordinates of `heads`."""

from random import Random

from lib.data.drawn.canvas import Canvas, mix, oval, smooth
from lib.data.drawn.coats import BLACK, WHITE, Coat, furry
from lib.data.drawn.heads import PINK, eyes, skull, smile


def rabbit_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a rabbit's face: long ears and two long teeth."""
    length, lean = rng.uniform(0.9, 1.3), rng.uniform(-0.2, 0.3)
    for side in (-1, 1):
        ear = [(0.15, -0.6), (0.25 + lean, -0.6 - length), (0.5 + lean, -0.6 - length), (0.6, -0.5)]
        furry(canvas, smooth([(side * x, y) for x, y in ear]), coat, rng)
        x, y = side * (0.37 + lean * 0.6), -0.55 - length * 0.5
        canvas.ellipse(x, y, 0.1, length * 0.35, PINK, turn=side * lean * 0.7)
    furry(canvas, skull(0.8, 0.85, 0.8), coat, rng)
    eyes(canvas, 0, 0.5, -0.1, 0.15, (70, 40, 30), rng)
    canvas.ellipse(0, 0.42, 0.3, 0.22, coat.pale)
    canvas.ellipse(0, 0.28, 0.1, 0.07, PINK)
    canvas.polygon([(-0.1, 0.5), (0.1, 0.5), (0.1, 0.7), (-0.1, 0.7)], WHITE)
    smile(canvas, 0, 0.33, 0.2, rng)


def bear_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a bear's face: small round ears and a round snout."""
    size = rng.uniform(0.28, 0.42)
    for side in (-1, 1):
        furry(canvas, oval(side * 0.72, -0.65, size, size), coat, rng)
        canvas.ellipse(side * 0.72, -0.62, size * 0.5, size * 0.5, coat.pale)
    furry(canvas, skull(0.85, 1.0, 0.85), coat, rng)
    eyes(canvas, 0, 0.36, -0.12, 0.1, (50, 34, 26), rng)
    canvas.ellipse(0, 0.36, 0.42, 0.34, coat.pale)
    canvas.ellipse(0, 0.2, 0.17, 0.11, BLACK)
    smile(canvas, 0, 0.3, 0.2, rng)


def mouse_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a mouse's face: large round ears and a pointed snout."""
    size = rng.uniform(0.5, 0.7)
    for side in (-1, 1):
        furry(canvas, oval(side * 0.85, -0.6, size, size), coat, rng)
        canvas.ellipse(side * 0.85, -0.6, size * 0.65, size * 0.65, PINK)
    furry(canvas, smooth([(0, -0.75), (0.7, -0.4), (0.65, 0.2), (0, 0.95), (-0.65, 0.2),
                          (-0.7, -0.4)]), coat, rng)  # fmt: skip
    eyes(canvas, 0, 0.34, -0.05, 0.13, BLACK, rng)
    canvas.ellipse(0, 0.85, 0.13, 0.11, PINK)


def pig_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a pig's face: ears that fold forward and a flat snout with two nostrils."""
    look, droop = rng.uniform(-0.2, 0.2), rng.uniform(-0.5, 0.1)
    furry(canvas, skull(0.85, 0.98, 0.85), coat, rng)
    for side in (-1, 1):
        ear = [(side * 0.3, -0.85), (side * 0.95, -0.6), (side * 0.9, droop)]
        furry(canvas, ear, coat, rng)
    eyes(canvas, look, 0.4, -0.1, 0.11, (70, 50, 40), rng)
    canvas.ellipse(look, 0.3, 0.42, 0.32, mix(PINK, BLACK, 0.25))
    canvas.ellipse(look, 0.29, 0.38, 0.28, PINK)
    for side in (-1, 1):
        canvas.ellipse(look + side * 0.15, 0.28, 0.07, 0.13, mix(PINK, BLACK, 0.6))
    smile(canvas, look, 0.5, 0.2, rng)
