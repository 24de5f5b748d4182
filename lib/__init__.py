"""Thaw: transfer learning with a training loop of your own."""

import os

if os.name == "nt":  # without `fcntl`, `resource` and `os.preadv`
    raise SystemExit("Thaw runs on Linux; on Windows, start it in WSL")
