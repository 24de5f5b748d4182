"""Thaw: transfer learning with a training loop of your own."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

if os.name == "nt":  # without `fcntl`, `resource` and `os.preadv`
    raise SystemExit("Thaw runs on Linux; on Windows, start it in WSL")

# Figures are drawn into files alone; matplotlib refuses to be imported where this names nothing.
os.environ["MPLBACKEND"] = "agg"

# How long work is reported: `with progress("decoding", 3000, "pictures") as advance: advance(1)`.
# The total is 0 where it is not known.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
