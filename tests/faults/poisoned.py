"""The program, with features that are not numbers in the batches of the steps in $POISONED."""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)

from lib.system import runtime  # noqa: E402

POISONED = {int(step) for step in os.environ["POISONED"].split(",")}
start = runtime.start


def start_and_poison(*arguments):
    joined = start(*arguments)
    from lib.training.feed import TrainingFeed

    batch = TrainingFeed.batch

    def poisoned(self, step):
        sound = batch(self, step)
        if step not in POISONED:
            return sound
        return sound._replace(features=sound.features * float("nan"))

    TrainingFeed.batch = poisoned
    return joined


runtime.start = start_and_poison
runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
