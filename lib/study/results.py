"""What the runs of a study came to, read from their folders."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.config import setting
from lib.reporting.result import wilson_interval
from lib.runs.folder import LEAKS
from lib.runs.history import Epoch, read_history
from lib.study.plan import Member, Plan, StudyRun, run_of
from lib.study.space import grid, parse
from lib.study.statistics import Difference, Mean, mean_of, paired_difference
from lib.system.files import read_json

# What runs are compared by, all of it of the weights of their best epoch: title, place in
# result.json.
FIGURES = {
    "validation_loss": ("validation loss", ("best", "validation", "loss")),
    "validation_accuracy": ("validation accuracy", ("best", "validation", "accuracy")),
    "test_loss": ("test loss", ("test", "loss")),
    "test_accuracy": ("test accuracy", ("test", "accuracy")),
}


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        run: which it is.
        member: its seed and fold.
        state: "finished", "failed", "pruned" or "unfinished".
        error: with which it failed.
        history: its epochs so far.
        result: what `result.json` holds; empty where it is not finished.
    """

    run: StudyRun
    member: Member
    state: str
    error: str = ""
    history: Sequence[Epoch] = ()
    result: dict[str, Any] = field(default_factory=dict)

    def figure(self, name: str) -> float | None:
        """One of `FIGURES`; None where the run is not finished."""
        found: Any = self.result
        for key in FIGURES[name][1]:
            found = found.get(key, {})
        return found if isinstance(found, float) else None


def is_over(run: StudyRun) -> bool:
    """Whether a run is finished or has failed."""
    return (run.folder / "result.json").exists() or run.failure.exists()


def outcome(run: StudyRun, member: Member) -> Outcome:
    """Reads what a run came to.

    Raises:
        UserError: somebody has edited its history.
    """
    found = dataclasses.replace(outcome_in(run.folder), run=run, member=member)
    if found.state == "unfinished" and run.failure.exists():
        error = run.failure.read_text(encoding="utf-8", errors="replace").strip()
        return dataclasses.replace(found, state="failed", error=error)
    return found


def outcome_in(folder: Path) -> Outcome:
    """Reads what the run in a folder came to, of a study or of none.

    Raises:
        UserError: somebody has edited its history.
    """
    try:
        history = read_history(folder / "history.csv")
    except OSError:
        history = []
    result = read_json(folder / "result.json")
    run = StudyRun(folder.name, (), folder.parent, str(folder.parent))
    state = "finished" if result else "unfinished"
    return Outcome(run, Member(None, None), state, "", history, result)


@dataclass(frozen=True)
class Point:
    """A point of a study's space, or its command line itself, with the runs of its members.

    Attributes:
        name: such as "trial-003"; empty for the command line itself.
        values: the flags that are special to it.
        state: "finished", "failed", "pruned", "unfinished" or "waiting".
        outcomes: of its runs.
        pruned_at: after which epoch or run it was given up, in words.
        error: with which it failed.
        rating: the mean of the objective over its runs; None where they are not all finished.
        known: each of `lib.study.plan.OBJECTIVES` of each of them, which may be on another machine.
        weights: the digest of those of the first run.
    """

    name: str
    values: dict[str, Any]
    state: str
    outcomes: tuple[Outcome, ...] = ()
    pruned_at: str = ""
    error: str = ""
    rating: float | None = None
    known: Mapping[str, Sequence[float]] = field(default_factory=dict)
    weights: str = ""

    @property
    def finished(self) -> list[Outcome]:
        """Those of its runs that are."""
        return [each for each in self.outcomes if each.state == "finished"]

    def figures(self, name: str) -> list[float]:
        """A figure of each finished run that has it."""
        if name in self.known:
            return list(self.known[name])
        found = [each.figure(name) for each in self.finished]
        return [value for value in found if value is not None]

    @property
    def label(self) -> str:
        """For people: the flags that are special to it."""
        return " ".join(setting(*each) for each in self.values.items()) or self.name


def leaks(points: Sequence[Point]) -> list[tuple[str, str]]:
    """Pairs of names of images that a run has in two splits, over folds too, with equal content."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for each in (each for point in points for each in point.outcomes):
        path = each.run.folder / LEAKS
        if path.exists():
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for one, other in list(csv.reader(file))[1:]:
                    found.setdefault(frozenset((one, other)), (one, other))
    return list(found.values())


TRIALS = "trials.json"


def trial_name(number: int) -> str:
    """The name of a point of a space."""
    return f"trial-{number:03d}"


def points_of(plan: Plan, study: Path) -> list[Point]:
    """The points of a study as they stand, from its files alone.

    Raises:
        UserError: somebody has edited the history of a run.
    """
    if not plan.space or not plan.trials:
        return [_point(plan, study, name, values) for name, values in fixed_points(plan).items()]
    found = []
    for each in read_json(study / TRIALS).get("trials", []):
        name, values = trial_name(each["number"]), each["values"]
        begun = each["state"] != "waiting"
        point = _point(plan, study, name, values) if begun else Point(name, values, "waiting")
        names = ("state", "pruned_at", "error", "rating", "known", "weights")
        # What an earlier version did not write down has its default.
        found.append(dataclasses.replace(point, **{key: each[key] for key in names if key in each}))
    return found


def fixed_points(plan: Plan) -> dict[str, dict[str, Any]]:
    """The points of a study without a sampler: its command line, or the whole grid of its space."""
    if not plan.space:
        return {"": {}}
    return {trial_name(n): point for n, point in enumerate(grid(parse(plan.space)) or [])}


def _point(plan: Plan, study: Path, name: str, values: dict[str, Any]) -> Point:
    runs = [(run_of(plan, study, name, values, member), member) for member in plan.members]
    outcomes = tuple(outcome(*each) for each in runs)
    state = state_of(outcomes)
    error = next((each.error for each in outcomes if each.error), "")
    ratings = [each.figure(plan.objective) for each in outcomes]
    rating = float(np.mean(ratings)) if None not in ratings else None
    weights = outcomes[0].result.get("weights_sha256", "")
    return Point(name, values, state, outcomes, "", error, rating, weights=weights)


def best_of(plan: Plan, points: Sequence[Point]) -> Point | None:
    """The finished point of the best rating, of equals the first; None where there is none."""
    return plan.best(points, lambda point: point.rating)


def state_of(outcomes: Sequence[Outcome]) -> str:
    """The state of a point by those of its runs."""
    states = {each.state for each in outcomes}
    for state in ("failed", "pruned", "unfinished"):
        if state in states:
            return state
    return "finished"


def held_back(plan: Plan) -> float:
    """For `lib.study.statistics.mean_of`: images held back in each fold per image trained on."""
    return 1 / (plan.folds - 1) if plan.folds else 0.0


def mean_figure(plan: Plan, point: Point, name: str) -> Mean | None:
    """Mean, deviation and interval of a figure over the runs of a point; None without any."""
    values = point.figures(name)
    return mean_of(values, held_back(plan)) if values else None


def difference(plan: Plan, one: Point, other: Point, name: str) -> Difference | None:
    """What another point has more of a figure than one, over the members that both have finished.

    Returns:
        None for fewer than two such members.
    """
    first, second = (
        {each.member: value for each in point.finished if (value := each.figure(name)) is not None}
        for point in (one, other)
    )
    both = [member for member in plan.members if member in first and member in second]
    pairs = [first[member] for member in both], [second[member] for member in both]
    return paired_difference(*pairs, held_back(plan))


@dataclass(frozen=True)
class Pooled:
    """The validation images of all folds together, of which each was validated once per seed.

    Attributes:
        correct: how many were classified correctly.
        count: how many there are.
        interval: the 95 % Wilson interval of the accuracy.
    """

    correct: int
    count: int
    interval: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """The correct ones' part of all."""
        return self.correct / self.count


def pooled(plan: Plan, point: Point, last: bool = False) -> dict[int | None, Pooled]:
    """What the folds say together, by seed: of those seeds of which every fold is finished.

    Args:
        plan: the study.
        point: whose runs.
        last: of the last epoch of each run, instead of the best, which its images have chosen.
    """
    found = {}
    for seed in dict.fromkeys(member.seed for member in plan.members):
        runs = [each.result for each in point.finished if each.member.seed == seed]
        parts = [(each if last else each["best"])["validation"] for each in runs]
        if not plan.folds or len(parts) < plan.folds:
            continue
        count = sum(part["count"] for part in parts)
        correct = sum(round(part["accuracy"] * part["count"]) for part in parts)
        found[seed] = Pooled(correct, count, wilson_interval(correct, count))
    return found
