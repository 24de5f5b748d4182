"""The work of a study: its runs, some side by side, each taken up where it stood."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.errors import UserError
from lib.runs.early_stopping import best_epoch
from lib.study.plan import Plan, StudyRun, run_of
from lib.study.processes import NOT_ITS_FAULT, Processes, error_of, held, is_held
from lib.study.results import Outcome, Point, outcome, state_of
from lib.system.files import write_text
from lib.system.progress import duration, say
from lib.training.stopping import StopRequest

_LOOK_EVERY = 0.2  # seconds
_RUN_LOCK = ".lock"  # that a run holds in its folder

# Work that goes on: advanced now and then, at its end where it raises StopIteration.
Task = Iterator[None]


def work(next_task: Callable[[int], Task | None], jobs: int, stop: StopRequest) -> None:
    """Does tasks, some side by side, until there are no more.

    Args:
        next_task: gives the next one; None where there is none, or none yet while others go on,
            whose number it is called with.
        jobs: how many at most side by side.
        stop: whether the program is asked to end.

    Raises:
        Stopped: it is.
    """
    going: list[Task] = []
    while True:
        while len(going) < jobs and (task := next_task(len(going))) is not None:
            going.append(task)
        if not going:
            return
        for task in list(going):
            try:
                next(task)
            except StopIteration:
                going.remove(task)
            stop.raise_if_requested()
        time.sleep(_LOOK_EVERY)


def carried_out(
    run: StudyRun, processes: Processes, look: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Takes a run to its end, from wherever it stands; nothing is done where it is there already.

    Args:
        run: which it is.
        processes: where it is started.
        look: called now and then while it goes on; where it says no, the run is given up.

    Raises:
        UserError: there is no room on the disk.
    """
    if (run.folder / "result.json").exists() or run.failure.exists():
        return
    if is_held(run.folder / _RUN_LOCK):
        say(f"{run.name}: a process that was started before still trains it; waiting for its end")
        while is_held(run.folder / _RUN_LOCK):
            yield
        if (run.folder / "result.json").exists():
            return
    process, asked = processes.start(run), False
    while not processes.ended(process):
        if not asked and not look():
            process.terminate()
            asked = True
        yield
    if process.returncode == 0 or asked:
        return
    error = error_of(run, process.returncode)
    if NOT_ITS_FAULT in error:
        raise UserError(f"{run.name}: {error}")
    if process.returncode in (130, 143):
        raise UserError(f"{run.name} was stopped by a signal: the same command goes on from here")
    write_text(run.failure, f"{error}\n")


def point_of(plan: Plan, study: Path, name: str, values: dict) -> Point:
    """A point as its runs stand."""
    runs = [(run_of(plan, study, name, values, member), member) for member in plan.members]
    outcomes = tuple(outcome(*each) for each in runs)
    return Point(name, values, state_of(outcomes), outcomes)


def fixed_runs(
    plan: Plan, study: Path, points: dict[str, dict], processes: Processes
) -> Callable[[int], Task | None]:
    """The tasks of a study whose runs are known from the start, for `work`.

    Several processes may do them at the same time: each takes what no other holds.
    """
    runs = [
        (run_of(plan, study, name, values, member), member)
        for name, values in points.items()
        for member in plan.members
    ]
    left = list(runs)

    def task(run: StudyRun, place: int, member) -> Task:
        with held(study / "claims" / f"{run.name}.lock") as mine:
            if not mine:  # another process was faster
                left.append((run, member))
                return
            if (run.folder / "result.json").exists() or run.failure.exists():
                return
            say(f"{run.name}: begins or goes on ({place} of {len(runs)}); see {run.log}")
            yield from carried_out(run, processes)
            say_outcome(outcome(run, member))

    def next_task(going: int) -> Task | None:
        for each in left:
            run, member = each
            if is_held(study / "claims" / f"{run.name}.lock"):
                continue
            left.remove(each)
            if not (run.folder / "result.json").exists() and not run.failure.exists():
                return task(run, runs.index(each) + 1, member)
            return next_task(going)
        if left and not going:
            say(f"{len(left)} runs are in the hands of other processes: waiting for their end")
            return _waiting(study, left[0][0])
        return None

    return next_task


def _waiting(study: Path, run: StudyRun) -> Task:
    while is_held(study / "claims" / f"{run.name}.lock"):
        yield


def say_outcome(found: Outcome) -> None:
    """Says on one line how a run ended."""
    name = found.run.name
    if found.state == "failed":
        say(
            f"{name}: failed: {found.error}; the others go on (remove {found.run.failure} to retry)"
        )
    elif found.state == "finished":
        result, best = found.result, best_epoch(found.history)
        say(
            f"{name}: validation accuracy {result['validation']['accuracy']:.4f}"
            f" (epoch {best.epoch}: {best.validation_accuracy:.4f}),"
            f" test accuracy {result['test']['accuracy']:.4f},"
            f" {duration(result['seconds']['total'])}"
        )
