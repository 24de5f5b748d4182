"""Thaw: transfer learning with a training loop of your own."""

from collections.abc import Callable
from contextlib import AbstractContextManager

# How long work is reported: `with progress("decoding", 3000, "pictures") as advance: advance(1)`.
# The total is 0 where it is not known.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
