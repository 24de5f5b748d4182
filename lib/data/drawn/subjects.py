"""One image from its key: a subject in a scene, seen by a camera."""

from functools import partial
from random import Random

from PIL import Image

from lib.data.drawn.bodies import Animal, draw_animal, long_tail, wagging_tail
from lib.data.drawn.camera import photographed
from lib.data.drawn.canvas import Canvas
from lib.data.drawn.heads import cat_head, dog_head
from lib.data.drawn.others import OTHERS
from lib.data.drawn.scenes import draw_foreground, draw_scene

# Colours tell nothing and patterns a little, as in life: tabby cats, spotted dogs, both in plain.
_CAT_PATTERNS = ("stripes", "stripes", "stripes", "plain", "bib")
_DOG_PATTERNS = ("spots", "patches", "saddle", "plain", "bib")
_SUBJECTS = {
    "cat": partial(draw_animal, animal=Animal(cat_head, long_tail, _CAT_PATTERNS)),
    "dog": partial(draw_animal, animal=Animal(dog_head, wagging_tail, _DOG_PATTERNS)),
    **OTHERS,
}


def draw_image(subject: str, key: str) -> Image.Image:
    """Draws `subject`; everything that varies follows from `key`.

    Args:
        subject: "cat", "dog" or one of `others.OTHERS`.
        key: any text; the same text gives the same image in every process.

    Returns:
        An RGB image, each side 150 to 240 pixels.
    """
    rng = Random(f"{subject}/{key}")
    canvas = Canvas(rng.randrange(150, 241), rng.randrange(150, 241))
    grass = draw_scene(canvas, rng)
    shorter = min(canvas.half_width, canvas.half_height)
    size = shorter * rng.uniform(0.8, 1.05)
    x = rng.uniform(-1, 1) * (canvas.half_width - size * 0.9)
    y = rng.uniform(-0.2, 1) * max(canvas.half_height - size, 0.0)
    with canvas.at(x, y, size, turn=rng.uniform(-0.12, 0.12), mirror=rng.random() < 0.5):
        canvas.ellipse(0.05, 0.95, 0.9, 0.12, (20, 10, 30, 70))
        _SUBJECTS[subject](canvas, rng)
    draw_foreground(canvas, grass, rng)
    return photographed(canvas.developed(), rng)
