"""The trials of a search: each a point of the space, run with every seed and fold of the study."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from lib.config import setting
from lib.runs.early_stopping import best_epoch
from lib.study.plan import OBJECTIVES, Plan, StudyRun, run_of, shared_phase
from lib.study.processes import Processes, held, is_held
from lib.study.results import TRIALS, outcome, trial_name
from lib.study.search import Search, described, number_of
from lib.study.work import Task, carried_out
from lib.system.files import write_json
from lib.system.progress import say

_ASK_EVERY = 1.0  # seconds between two looks into the storage while trials are going on
_WAIT = 5.0  # seconds between two looks at what other processes do


def search_tasks(
    plan: Plan, study: Path, search: Search, processes: Processes
) -> Callable[[int], Task | None]:
    """The tasks of a search, for `lib.study.work.work`."""
    running: set[int] = set()
    asked = 0.0

    def is_claimed(number: int) -> bool | None:
        path = _claim(study, number)
        return is_held(path) if path.exists() else None

    orphans = deque(search.orphans(is_claimed))

    def started(frozen: FrozenTrial) -> Task:
        running.add(number_of(frozen))
        return _Trial(plan, study, search, processes, frozen).task(running.discard)

    def next_task(going: int) -> Task | None:
        nonlocal asked
        if orphans:
            return started(orphans.popleft())
        if going and time.monotonic() - asked < _ASK_EVERY:
            return None
        asked = time.monotonic()
        number = search.next_number()
        if number is None:
            return _pause(_WAIT) if not going and search.others_at_work() else None
        if running and min(running) <= number - plan.jobs:
            return None  # what that one comes to is what this one may know
        frozen = search.begin()
        return started(frozen) if frozen else _pause(0)

    return next_task


def _pause(seconds: float) -> Task:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        yield


def _claim(study: Path, number: int) -> Path:
    return study / "claims" / f"{trial_name(number)}.lock"


class _Trial:
    """A trial that goes on."""

    def __init__(
        self, plan: Plan, study: Path, search: Search, processes: Processes, frozen: FrozenTrial
    ):
        self._plan, self._study, self._search = plan, study, search
        self._processes, self._frozen = processes, frozen
        self._name = trial_name(number_of(frozen))
        self._reported: dict[int, float] = {}
        self._given_up = ""  # after which epoch, in words

    def task(self, ended: Callable[[int], None]) -> Task:
        """Carries it out, and writes down what it came to."""
        number = number_of(self._frozen)
        with held(_claim(self._study, number)) as mine:
            if mine:
                values = self._search.values(self._frozen)
                words = " ".join(setting(*each) for each in values.items())
                say(f"{self._name}: {words}")
                write_trials(self._study, self._search)
                yield from self._carry_out(values)
                write_trials(self._study, self._search)
        ended(number)

    def _carry_out(self, values: dict[str, Any]) -> Iterator[None]:
        plan, search, frozen = self._plan, self._search, self._frozen
        last_epoch = _epochs(plan, values)
        known: dict[str, list[float]] = {name: [] for name in OBJECTIVES}
        weights = ""
        for place, member in enumerate(plan.members):
            run = run_of(plan, self._study, self._name, values, member)

            def look(run: StudyRun = run, place: int = place) -> bool:
                return place > 0 or not self._seen(run, last_epoch)

            for _ in carried_out(plan, run, member, values, self._processes, look):
                search.keep_alive(frozen)
                yield
            if not look():
                say(f"{self._name}: given up after {self._given_up}")
                search.prune(frozen, self._given_up)
                return
            done = outcome(run, member)
            if done.state == "failed":
                say(f"{self._name}: failed: {done.error}; the others go on")
                search.fail(frozen, f"{run.name}: {done.error}")
                return
            for name, values_of in known.items():
                figure = done.figure(name)
                if figure is None or not math.isfinite(figure):
                    search.fail(frozen, f"{run.name}: its {name} is not a number")
                    return
                values_of.append(figure)
            weights = weights or done.result["weights_sha256"]
            ratings = known[plan.objective]
            self._reported[last_epoch + place] = mean = sum(ratings) / len(ratings)
            more = place + 1 < len(plan.members)
            if search.report(frozen, self._reported) and more:
                self._given_up = run.name
                say(f"{self._name}: given up after {self._given_up}")
                search.prune(frozen, self._given_up)
                return
        search.complete(frozen, known, weights)
        say(f"{self._name}: {plan.objective.replace('_', ' ')} {mean:.4f}")

    def _seen(self, run: StudyRun, last_epoch: int) -> bool:
        """Reports the epochs that are new, in their order, and says whether to give up."""
        if self._given_up:
            return True
        rows = [row for row in outcome(run, self._plan.members[0]).history if row.epoch > 0]
        for count, row in enumerate(rows, start=1):
            if row.epoch in self._reported or row.epoch >= last_epoch:
                continue
            # What the run would be rated by if it ended here.
            self._reported[row.epoch] = getattr(best_epoch(rows[:count]), self._plan.objective)
            if self._search.report(self._frozen, self._reported):
                self._given_up = f"epoch {row.epoch}"
                return True
        return False


def _epochs(plan: Plan, values: dict[str, Any]) -> int:
    """How many epochs a run has at most: the last one is not reported before its run has ended."""
    shared = shared_phase(plan, values)
    phases = str(values["phases"]).split(",") if "phases" in values else plan.flags["phases"]
    if shared:
        phases = phases[phases.index(shared) + 1 :]
    names = [f"{phase}_epochs" for phase in phases]
    return sum(int(values.get(name, plan.flags.get(name, 10))) for name in names)


def write_trials(study: Path, search: Search) -> None:
    """Writes down in a file how the trials stand, for those who do not ask the storage."""
    trials = [described(each) for each in search.trials()]
    write_json(study / TRIALS, {"trials": trials, "importances": search.importances()})
