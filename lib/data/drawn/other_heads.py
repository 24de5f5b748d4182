"""Faces of the other four-legged animals, in the coordinates of `heads`."""

from random import Random

from lib.data.drawn.canvas import Canvas, mix, oval, smooth
from lib.data.drawn.coats import BLACK, WHITE, Coat, furry
from lib.data.drawn.heads import PINK, eyes, pointed_ear, skull, smile


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


def fox_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a fox's face: large ears with dark tips, pale cheeks that end in a small nose."""
    look, height = rng.uniform(-0.15, 0.15), rng.uniform(1.2, 1.5)
    for side in (-1, 1):
        pointed_ear(canvas, side, 0.8, height, 0.65, coat, rng)
        tip = (side * 0.8, -height)
        canvas.polygon([tip, (side * 0.62, 0.3 - height), (side * 0.88, 0.35 - height)], BLACK)
    outline = [(0, -0.75), (0.7, -0.55), (1.15, 0.15), (0.5, 0.5), (0, 1.0), (-0.5, 0.5),
               (-1.15, 0.15), (-0.7, -0.55)]  # fmt: skip
    furry(canvas, smooth(outline), coat, rng)
    for side in (-1, 1):
        canvas.blob([(side * 1.05, 0.15), (side * 0.5, 0.48), (look, 0.95), (look, 0.45),
                     (side * 0.4, 0.1)], WHITE)  # fmt: skip
    eyes(canvas, look, 0.42, -0.1, 0.13, (190, 140, 50), rng, slit=True)
    canvas.ellipse(look, 0.92, 0.14, 0.11, BLACK)


def goat_head(canvas: Canvas, coat: Coat, rng: Random) -> None:
    """Draws a goat's face: horns, ears held out to the sides, a narrow face and a beard."""
    look, bend = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.3)
    for side in (-1, 1):
        horn = [(side * 0.25, -0.6), (side * 0.35, -1.1), (side * (0.4 + bend), -1.5)]
        canvas.stroke(horn, 0.2, (150, 130, 100))
        ear = oval(side * 0.95, -0.25 + bend, 0.42, 0.18, turn=side * bend)
        furry(canvas, ear, coat, rng)
    canvas.polygon([(look - 0.25, 0.8), (look + 0.25, 0.8), (look + bend, 1.4)], coat.pale)
    face = [(0, -0.8), (0.65, -0.5), (0.6, 0.0), (look + 0.4, 0.85), (look, 1.0),
            (look - 0.4, 0.85), (-0.6, 0.0), (-0.65, -0.5)]  # fmt: skip
    furry(canvas, smooth(face), coat, rng)
    eyes(canvas, look, 0.4, -0.15, 0.12, (210, 170, 80), rng)
    for side in (-1, 1):
        canvas.ellipse(look + side * 0.13, 0.65, 0.06, 0.09, BLACK)
    smile(canvas, look, 0.68, 0.15, rng)
