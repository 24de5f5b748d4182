"""The cost of augmentation: a list of ten operations, the default, and each operation alone.

    python -m benchmarks.augment [TREE]

TREE is a checkout of the first edition (commit bfaf5f5), whose flip and rotation are then measured
as well, called as its training calls them. A batch of 32 images of noise at 160 pixels, on as many
threads as there are cores. The lists take turns, so that whatever else the machine does hits all
alike. Prints a Markdown table of medians.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from lib.config import Config
from lib.system import runtime

TEN = "flip|rotate(0.2)|crop|translate|zoom|color|grey|erase|blur|mixup"
BATCH, SIZE, TURNS = 32, 160, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, nargs="?", help="a checkout of the first edition")
    tree = parser.parse_args().tree
    runtime.start(runtime.cores(), seed=0)
    from lib.data.augment import OPERATIONS
    from lib.data.augmentation import Augmentation

    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    targets = np.zeros((BATCH, 1), np.float32)
    lists = {text: Augmentation(text, seed=0) for text in (Config.augment, TEN, *OPERATIONS)}
    if tree:
        augment = _of_first_edition(tree)
        lists["the first edition"] = lambda images, _, turn: augment(images, 0, turn, 0.2)
    spent = {text: [] for text in lists}
    for turn in range(TURNS + 2):
        for text, augmentation in lists.items():
            began, processors = time.perf_counter(), time.process_time()
            augmentation(images, targets, turn)
            if turn >= 2:  # the first ones compile, and warm up
                now = time.perf_counter() - began, time.process_time() - processors
                spent[text].append([1000 * each for each in now])
    usual = [median(column) for column in zip(*spent[Config.augment], strict=True)]
    print("| operations | ms | ms of processors | of the default |")
    print("| --- | ---: | ---: | ---: |")
    for text, costs in spent.items():
        wall, processors = (median(column) for column in zip(*costs, strict=True))
        name = text.replace("|", "\\|")
        print(f"| `{name}` | {wall:.1f} | {processors:.1f} | {processors / usual[1]:.2f} |")


def _of_first_edition(tree: Path) -> Callable:
    """The function `augment` of a checkout, next to this version's modules of the same names."""
    ours = sys.modules.pop("lib.randomness")
    try:
        for name, file in ("lib.randomness", "randomness.py"), ("theirs", "data/augment.py"):
            spec = importlib.util.spec_from_file_location(name, tree / "lib" / file)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules["theirs"].augment
    finally:
        sys.modules["lib.randomness"] = ours


if __name__ == "__main__":
    main()
