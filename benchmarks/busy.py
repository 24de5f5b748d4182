"""The speed that Thaw keeps next to other busy processes: both phases, evaluation, predict.

    python -m benchmarks.busy RUN

Takes a finished run and its images, and measures each kind of work on an idle machine and next to
as many busy processes of normal priority as there are cores, by turns. Prints a Markdown table, and
ends with exit code 1 where a kind keeps less than a third. About three minutes on two cores.
"""

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.finished_run import FinishedRun, from_command_line
from lib.config import Phase
from lib.system.progress import bar
from lib.system.runtime import cores

TURNS = 5
STEPS = 12  # that are timed, after those that fill the pipeline
FILLING = 3
BAR = 1 / 3

# Ends by itself where the benchmark is killed.
_SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""

# Images per second, of a stretch of work.
Work = Callable[[], float]


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[subprocess.Popen]]:
    """Keeps a number of processes of this process's priority busy for as long as the block lasts.

    They are of the same session, so that Linux' grouping of tasks by session does not set Thaw
    apart from them.
    """
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", _SPIN])
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def rate(batches: Iterator[int]) -> float:
    """Items per second, once the pipeline is full.

    Args:
        batches: does the work of a batch each time, and gives the number of its items.
    """
    for _ in itertools.islice(batches, FILLING):
        pass
    began = time.perf_counter()
    done = sum(itertools.islice(batches, STEPS))
    return done / (time.perf_counter() - began)


def kinds_of_work(run: FinishedRun) -> Iterator[tuple[str, Work]]:
    """What Thaw does with images, by name."""
    from lib.data.dataset import open_dataset
    from lib.inference.predictions import predictions
    from lib.inference.reading import read_ahead
    from lib.inference.trained import open_trained
    from lib.runs.state import State
    from lib.training.build import build_feed, build_learner
    from lib.training.feed import EvaluationFeed
    from lib.training.steps import make_evaluation_step, make_train_step

    config, network = run.config, run.network
    dataset = open_dataset(config, bar)

    def training(phase: Phase) -> Work:
        learner = build_learner(config, phase, network, phase.learning_rate)
        train_step = make_train_step(learner, State())
        feed = build_feed(config, dataset.train, learner)

        def train() -> Iterator[int]:
            for step, batch in enumerate(feed.batches(0, FILLING + STEPS)):
                train_step(batch, step)
                yield batch.images

        return lambda: rate(train())

    for phase in config.phases:
        yield phase.name, training(phase)

    trained = open_trained(run.folder, config, dataset.classes, "best")
    engine = trained.engine()
    evaluation_step = make_evaluation_step(engine, trained.network)

    def evaluate() -> Iterator[int]:
        feed = EvaluationFeed(dataset.train, engine, config.batch_size, memory_mb=0)
        while True:  # a small set several times
            for batch in feed:
                evaluation_step(batch.features)
                yield len(batch.labels)

    yield "evaluation", lambda: rate(evaluate())

    paths = [dataset.train.store.images[row].path for row in dataset.train.rows]

    def predict() -> Iterator[int]:
        wanted = (FILLING + STEPS) * config.batch_size
        chosen = list(itertools.islice(itertools.cycle(paths), wanted))
        reads = read_ahead(chosen, config.image_size, shown=0, limit=2 * config.batch_size)
        found = predictions(trained, reads, explain=False)
        while batch := len(list(itertools.islice(found, config.batch_size))):
            yield batch

    yield "predict", lambda: rate(predict())


def main() -> None:
    run = from_command_line(__doc__.splitlines()[0])
    count = cores()
    print(f"Next to {count} busy processes on {count} cores, medians of {TURNS} turns\n")
    print("| work | alone, images/s | next to them, images/s | kept |")
    print("| --- | ---: | ---: | ---: |")
    enough = True
    for name, work in kinds_of_work(run):
        work()  # compiled
        alone, crowded = [], []
        for _ in range(TURNS):
            alone.append(work())
            with busy(count):
                crowded.append(work())
        kept = median(crowded) / median(alone)
        enough &= kept >= BAR
        print(f"| {name} | {median(alone):.0f} | {median(crowded):.0f} | {kept:.2f} |", flush=True)
    if not enough:
        sys.exit(f"below the bar of {BAR:.2f}")


if __name__ == "__main__":
    main()
