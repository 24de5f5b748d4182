"""The embedded data set: cats and dogs, and what the embedded weights learned from, drawn here."""

from lib.data.drawn.dataset import draw_cats_and_dogs, fetch, folder_in

__all__ = ["draw_cats_and_dogs", "fetch", "folder_in"]
