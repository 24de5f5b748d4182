"""The cost of augmentation: a list of ten operations, the default, and each operation alone.

    python -m benchmarks.augment

A batch of 32 images of noise at 160 pixels, on as many threads as there are cores. The lists take
turns, so that whatever else the machine does hits all alike. Prints a Markdown table of medians.
"""

import os
import time
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from lib.config import Config
from lib.system import runtime

TEN = "flip|rotate(0.2)|crop|translate|zoom|color|grey|erase|blur|mixup"
BATCH, SIZE, TURNS = 32, 160, 60


def main() -> None:
    runtime.start(runtime.cores(), seed=0)
    from lib.data.augment import OPERATIONS
    from lib.data.augmentation import Augmentation

    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    targets = np.zeros((BATCH, 1), np.float32)
    lists = {text: Augmentation(text, seed=0) for text in (Config.augment, TEN, *OPERATIONS)}
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


if __name__ == "__main__":
    main()
