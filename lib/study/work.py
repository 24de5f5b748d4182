"""The work of a study: its runs, some side by side, each taken up where it stood."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.study.plan import Member, Plan, StudyRun, head_of, run_of, shared_phase
from lib.study.processes import NOT_ITS_FAULT, Processes, error_of, held, is_held
from lib.study.results import Outcome, is_over, outcome
from lib.system.files import write_text
from lib.system.progress import duration, say
from lib.training.stopping import StopRequest

_LOOK_EVERY = 0.1  # seconds
_RUN_LOCK = ".lock"  # that a run holds in its folder

# Work that goes on: advanced now and then, at its end where it raises StopIteration.
Task = Iterator[None]


def work(next_task: Callable[[int], Task | None], jobs: int, stop: StopRequest) -> None:
    """Does tasks, some side by side, until there are no more.

    Args:
        next_task: gives the next one, told how many are going on; None where there is none, or
            none before one of these ends.
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
    plan: Plan,
    run: StudyRun,
    member: Member,
    varied: Collection[str],
    processes: Processes,
    look: Callable[[], bool] = lambda: True,
) -> Task:
    """Takes a run to its end, from wherever it stands, and first the phases that it shares.

    Args:
        plan: the study.
        run: which it is.
        member: its seed and fold.
        varied: the names of the flags in which it differs from others of its member.
        processes: where it is started.
        look: called now and then while it goes on; where it says no, the run is given up.

    Raises:
        UserError: there is no room on the disk, or somebody else stopped it.
    """
    if is_over(run):
        return
    if phase := shared_phase(plan, varied):
        head = head_of(plan, run.study, phase, member)
        with held(claim(head)) as mine:
            while not mine and is_held(claim(head)):
                yield
            if not is_over(head):
                say(f"{head.name}: {phase}, which all runs of it share; see {head.log}")
            yield from _processed(head, processes, lambda: True)
        if head.failure.exists():
            write_text(run.failure, f"{head.name}: {head.failure.read_text(encoding='utf-8')}")
            return
    yield from _processed(run, processes, look)


def _processed(run: StudyRun, processes: Processes, look: Callable[[], bool]) -> Task:
    if is_over(run):
        return
    if is_held(run.folder / _RUN_LOCK):
        say(f"{run.name}: a process that was started before still trains it; waiting for its end")
        while is_held(run.folder / _RUN_LOCK):
            yield
        if is_over(run):
            return
    process, given_up = processes.start(run), False
    while not processes.ended(process):
        if not given_up and not look():
            process.terminate()
            given_up = True
        yield
    if process.returncode == 0 or given_up:
        return
    if process.returncode in (130, 143):
        raise UserError(f"{run.name} was stopped by a signal: the same command goes on from here")
    error = error_of(run, process.returncode)
    if NOT_ITS_FAULT in error:
        raise UserError(f"{run.name}: {error}")
    write_text(run.failure, f"{error}\n")


def claim(run: StudyRun) -> Path:
    """The file that the process which does a run locks, so that no other does it too."""
    return run.study / "claims" / f"{run.name}.lock"


def fixed_runs(
    plan: Plan, study: Path, points: Mapping[str, Mapping[str, Any]], processes: Processes
) -> Callable[[int], Task | None]:
    """The tasks of a study whose runs are known from the start, for `work`.

    Several processes may do them at the same time: each takes what no other holds.
    """
    runs = [
        (run_of(plan, study, name, values, member), member, tuple(values))
        for name, values in points.items()
        for member in plan.members
    ]
    left = list(runs)

    def task(run: StudyRun, member: Member, varied: tuple[str, ...], place: int) -> Task:
        with held(claim(run)) as mine:
            if not mine:  # another process was faster
                left.append((run, member, varied))
                return
            if is_over(run):
                return
            say(f"{run.name}: begins or goes on ({place} of {len(runs)}); see {run.log}")
            yield from carried_out(plan, run, member, varied, processes)
            say_outcome(outcome(run, member))

    def waiting(run: StudyRun) -> Task:
        while is_held(claim(run)):
            yield

    def next_task(going: int) -> Task | None:
        for each in list(left):
            if is_over(each[0]):
                left.remove(each)
            elif not is_held(claim(each[0])):
                left.remove(each)
                return task(*each, runs.index(each) + 1)
        if left and not going:
            say(f"{len(left)} runs are in the hands of other processes: waiting for their end")
            return waiting(left[0][0])
        return None

    return next_task


def say_outcome(found: Outcome) -> None:
    """Says on one line how a run ended."""
    name = found.run.name
    if found.state == "failed":
        retry = f"remove {found.run.failure} to try it again"
        say(f"{name}: failed: {found.error}; the others go on ({retry})")
    elif found.state == "finished":
        best, result = found.result["best"], found.result
        say(
            f"{name}: in its best epoch, {best['epoch']} of {result['epoch']}, validation loss"
            f" {best['validation']['loss']:.4f}, validation accuracy"
            f" {best['validation']['accuracy']:.4f}, test accuracy"
            f" {result['test']['accuracy']:.4f}; {duration(result['seconds']['total'])}"
        )
