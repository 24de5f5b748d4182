"""The time of training by its parts: what each part of a step costs, and a checkpoint.

    python -m benchmarks.step_costs runs/cats_and_dogs

Takes the parts of the run's phases one by one, on images of noise, and sets their processor time
against what a step took in the run. The cost of a checkpoint is given as a part of the training
between two of them (`--checkpoint_every`). Prints a Markdown table.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.finished_run import FinishedRun, from_command_line
from lib.config import Phase

REPEATS = 30


class Cost(NamedTuple):
    """What a part takes, in milliseconds, medians."""

    wall: float
    processors: float


def cost_of(part: Callable[[], object]) -> Cost:
    """The cost of a part once it is warm."""
    part(), part()
    costs = []
    for _ in range(REPEATS):
        began, spent = time.perf_counter(), time.process_time()
        part()
        costs.append((time.perf_counter() - began, time.process_time() - spent))
    return Cost(*(1000 * median(column) for column in zip(*costs, strict=True)))


def parts_of(run: FinishedRun, phase: Phase) -> Iterator[tuple[str, Cost]]:
    """The parts of a phase's step and of what is done between steps."""
    import tensorflow as tf

    from lib.data.augmentation import augmentation_of
    from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
    from lib.runs.state import State
    from lib.training.build import build_learner
    from lib.training.feed import Batch
    from lib.training.slice_step import make_slice_step, trace_slice
    from lib.training.steps import make_update_step

    config, network = run.config, run.network
    learner, state = build_learner(config, phase, network, phase.learning_rate), State()
    engine, of_slice = learner.engine, trace_slice(learner)
    slice_step = make_slice_step(learner, of_slice)
    update_step = make_update_step(learner, state, of_slice)
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    targets = tf.zeros((config.batch_size, network.head.units))
    augmentation = augmentation_of(config)
    varied = augmentation(images, targets, 0).images.numpy()
    batch = Batch(engine.prefix(varied), targets, config.batch_size)
    computed = slice_step(batch, 0)

    yield "augmentation", cost_of(lambda: augmentation(images, targets, 0))
    yield "frozen part", cost_of(lambda: engine.prefix(varied))
    yield "forward and gradient", cost_of(lambda: slice_step(batch, 0))
    yield "optimizer and the rest of the step", cost_of(lambda: update_step(computed, 0))
    # On the file system of the run.
    with tempfile.TemporaryDirectory(dir=run.folder.absolute().parent) as scratch:
        checkpoints = Checkpoints(Path(scratch), config.keep_checkpoints)
        checkpoint = CachedCheckpoint(model=network.model, optimizer=learner.optimizer, state=state)
        yield "a checkpoint", cost_of(lambda: checkpoints.save(checkpoint, int(state.step)))


def main() -> None:
    run = from_command_line(__doc__.splitlines()[0])
    threads, batch = run.config.threads, run.config.batch_size
    print("| phase | part | ms | ms of processors | of the step in the run |")
    print("| --- | --- | ---: | ---: | ---: |")
    for phase in run.config.phases:
        in_run = 1000 * batch / run.rates[phase.name]
        for name, cost in parts_of(run, phase):
            steps = run.config.checkpoint_every if name == "a checkpoint" else 1
            share = cost.processors / (threads * steps * in_run)
            print(
                f"| {phase.name} | {name} | {cost.wall:.1f} | {cost.processors:.1f} | {share:.1%} |"
            )
        print(f"| {phase.name} | **the step in the run** | {in_run:.1f} | | |")


if __name__ == "__main__":
    main()
