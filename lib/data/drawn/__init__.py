"""The embedded data set: cats and dogs, and what the embedded weights learned from, drawn here."""

from lib.data.drawn.dataset import draw_cats_and_dogs

__all__ = ["draw_cats_and_dogs"]
