"""The surroundings of the subject: meadows, rooms, beaches, nights and patterned paper."""

from random import Random

from lib.data.drawn.canvas import Canvas, Colour, mix

_SQUARE = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
_PAPERS = [(236, 224, 200), (176, 204, 190), (198, 214, 232), (232, 190, 180), (120, 140, 150),
           (214, 200, 226), (96, 84, 104), (240, 226, 150), (150, 110, 90)]  # fmt: skip
_GREENS = [(112, 160, 72), (86, 138, 70), (150, 178, 88), (70, 110, 74)]


def draw_scene(canvas: Canvas, rng: Random) -> bool:
    """Fills the canvas with a background; returns whether grass grows there."""
    scene = rng.choice([_meadow, _meadow, _room, _room, _beach, _night, _paper])
    scene(canvas, rng)
    return scene in (_meadow, _night)


def draw_foreground(canvas: Canvas, grass: bool, rng: Random) -> None:
    """Now and then puts a toy, or where there is grass some blades, in front of the subject."""
    bottom = canvas.half_height
    if grass and rng.random() < 0.6:
        _blades(canvas, bottom, rng.choice(_GREENS), 25, 0.3, rng)
    elif rng.random() < 0.25:
        x, r = rng.uniform(-1, 1) * canvas.half_width, rng.uniform(0.1, 0.18)
        canvas.ellipse(x, bottom - r, r, r, rng.choice(_PAPERS))
        canvas.stroke([(x - r, bottom - r), (x, bottom - r * 0.7), (x + r, bottom - r)], r * 0.2,
                      (250, 250, 250))  # fmt: skip


def _sky(canvas: Canvas, top: Colour, bottom: Colour, horizon: float) -> None:
    bands = 16
    for i in range(bands):
        y = -1 + (horizon + 1) * i / bands
        canvas.polygon([(-1, y), (1, y), (1, horizon + 0.1), (-1, horizon + 0.1)],
                       mix(top, bottom, i / bands))  # fmt: skip


def _ground(canvas: Canvas, horizon: float, colour: Colour) -> None:
    canvas.polygon([(-1, horizon), (1, horizon), (1, 1), (-1, 1)], colour)


def _meadow(canvas: Canvas, rng: Random) -> None:
    horizon, green = rng.uniform(-0.3, 0.3), rng.choice(_GREENS)
    _sky(canvas, (110, 168, 222), rng.choice([(222, 238, 246), (250, 220, 180)]), horizon)
    for _ in range(rng.randrange(3)):
        x, y = rng.uniform(-0.9, 0.9), rng.uniform(-0.8, -0.4)
        for dx, r in ((-0.14, 0.08), (0, 0.12), (0.15, 0.09)):
            canvas.ellipse(x + dx, y, r * 1.3, r, (252, 252, 252))
    for _ in range(rng.randrange(1, 4)):
        r = rng.uniform(0.15, 0.5)
        canvas.ellipse(rng.uniform(-1, 1), horizon, r * 1.5, r, mix(green, (60, 90, 110), 0.35))
    for _ in range(rng.randrange(3)):
        _bush(canvas, rng.uniform(-1, 1), horizon, rng)
    _ground(canvas, horizon, green)
    _blades(canvas, 1, green, 60, 1 - horizon, rng)


def _bush(canvas: Canvas, x: float, y: float, rng: Random) -> None:
    green = mix(rng.choice(_GREENS), (30, 60, 40), 0.4)
    canvas.stroke([(x, y + 0.1), (x, y - 0.2)], 0.06, (100, 72, 50))
    for dx, dy in ((-0.1, -0.25), (0.1, -0.25), (0, -0.4)):
        canvas.ellipse(x + dx, y + dy, 0.17, 0.16, green)


def _blades(
    canvas: Canvas, bottom: float, green: Colour, count: int, height: float, rng: Random
) -> None:
    for _ in range(count):
        x, y = rng.uniform(-1, 1), bottom - rng.uniform(0, height)
        tone = mix(green, rng.choice([(240, 240, 160), (20, 50, 30)]), rng.uniform(0, 0.5))
        tip = (x + rng.uniform(-0.08, 0.08), y - rng.uniform(0.06, 0.18))
        canvas.polygon([(x - 0.02, y), (x + 0.02, y), tip], tone)
    for _ in range(rng.randrange(6)):
        x, y = rng.uniform(-1, 1), bottom - rng.uniform(0, height)
        canvas.ellipse(x, y, 0.035, 0.035, rng.choice(_PAPERS))


def _room(canvas: Canvas, rng: Random) -> None:
    wall, floor = rng.choice(_PAPERS), rng.choice([(168, 118, 74), (120, 84, 60), (190, 180, 170)])
    canvas.polygon(_SQUARE, wall)
    edge = rng.uniform(0.1, 0.5)
    _wallpaper(canvas, mix(wall, rng.choice(_PAPERS), 0.5), rng)
    for _ in range(rng.randrange(3)):
        _frame(canvas, rng.uniform(-0.9, 0.9), rng.uniform(-0.7, -0.1), rng)
    _ground(canvas, edge, floor)
    canvas.stroke([(-1, edge), (1, edge)], 0.05, mix(wall, (255, 255, 255), 0.6))
    for i in range(-6, 7):
        canvas.stroke([(i * 0.2, edge + 0.03), (i * 0.4, 1)], 0.012, mix(floor, (0, 0, 0), 0.3))
    if rng.random() < 0.5:
        canvas.ellipse(rng.uniform(-0.3, 0.3), edge + 0.35, 0.8, 0.22, rng.choice(_PAPERS))


def _frame(canvas: Canvas, x: float, y: float, rng: Random) -> None:
    w, h = rng.uniform(0.15, 0.3), rng.uniform(0.15, 0.3)
    for grow, colour in ((0.04, (110, 76, 50)), (0, rng.choice([(200, 228, 244), (40, 50, 80)]))):
        canvas.polygon([(x - w - grow, y - h - grow), (x + w + grow, y - h - grow),
                        (x + w + grow, y + h + grow), (x - w - grow, y + h + grow)],
                       colour)  # fmt: skip
    canvas.stroke([(x, y - h), (x, y + h)], 0.03, (110, 76, 50))


def _wallpaper(canvas: Canvas, colour: Colour, rng: Random) -> None:
    kind, step = rng.randrange(4), rng.uniform(0.12, 0.3)
    count = int(1 / step) + 1
    for i in range(-count, count + 1):
        if kind == 0:
            canvas.stroke([(i * step, -1), (i * step, 1)], step * 0.4, colour)
        elif kind == 1:
            canvas.stroke([(-1, i * step), (1, i * step)], step * 0.3, colour)
        elif kind == 2:
            for j in range(-count, count + 1):
                x = (i + 0.5 * (j % 2)) * step
                canvas.ellipse(x, j * step, step * 0.2, step * 0.2, colour)


def _beach(canvas: Canvas, rng: Random) -> None:
    horizon = rng.uniform(-0.4, 0.0)
    _sky(canvas, rng.choice([(90, 160, 220), (240, 150, 110)]), (250, 236, 210), horizon)
    canvas.ellipse(
        rng.uniform(-0.8, 0.8), horizon - rng.uniform(0, 0.3), 0.14, 0.14, (255, 240, 190)
    )
    _ground(canvas, horizon, (60, 140, 170))
    for _ in range(6):
        x, y = rng.uniform(-1, 1), horizon + rng.uniform(0.03, 0.25)
        canvas.stroke([(x - 0.15, y), (x, y - 0.02), (x + 0.15, y)], 0.02, (210, 236, 240))
    shore = horizon + rng.uniform(0.25, 0.45)
    canvas.blob([(-1.3, shore), (-0.5, shore + 0.06), (0.5, shore - 0.05), (1.3, shore), (1.3, 1.5),
                 (-1.3, 1.5)], (230, 208, 160))  # fmt: skip


def _night(canvas: Canvas, rng: Random) -> None:
    horizon = rng.uniform(0.0, 0.4)
    _sky(canvas, (24, 28, 66), rng.choice([(74, 66, 120), (40, 80, 110)]), horizon)
    for _ in range(30):
        canvas.ellipse(rng.uniform(-1, 1), rng.uniform(-1, horizon), 0.012, 0.012, (250, 246, 220))
    canvas.ellipse(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, -0.4), 0.15, 0.15, (246, 238, 200))
    _ground(canvas, horizon, rng.choice([(44, 56, 60), (56, 50, 70), (40, 66, 56)]))
    _blades(canvas, 1, (60, 90, 80), 30, 1 - horizon, rng)


def _paper(canvas: Canvas, rng: Random) -> None:
    first, second = rng.sample(_PAPERS, 2)
    _sky(canvas, first, second, 1.0)
    _wallpaper(canvas, mix(first, rng.choice(_PAPERS), 0.6), rng)
