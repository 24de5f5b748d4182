"""Studies and runs side by side: what differs, what each came to, and the paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.config import setting, written
from lib.errors import UserError
from lib.runs import folder as run_folder
from lib.study import plan as plans
from lib.study.plan import Member
from lib.study.results import FIGURES, Outcome, best_of, held_back, outcome_in, points_of
from lib.study.statistics import mean_of, paired_difference
from lib.study.table import interval, number, short

_PLACES = ("workdir", "data_dir")
_NONE = "-"


@dataclass(frozen=True)
class Group:
    """A study's command line or the best of its points, or a single run.

    Attributes:
        name: by which it is distinguished from others.
        flags: of its runs.
        over: how many seeds and folds, in words.
        held_back: see `lib.study.statistics.mean_of`.
        outcomes: of its finished runs, by seed and fold.
    """

    name: str
    flags: dict[str, Any]
    over: str
    held_back: float
    outcomes: dict[Member, Outcome]

    def figures(self, name: str) -> dict[Member, float]:
        """A figure of each run that has it."""
        found = {member: each.figure(name) for member, each in self.outcomes.items()}
        return {member: value for member, value in found.items() if value is not None}


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / plans.STUDY).is_file()


def group(folder: Path, name: str) -> Group:
    """Reads a study or a run.

    Raises:
        UserError: the folder holds neither, or nothing that is finished.
    """
    plan = plans.saved(folder)
    if plan is None:
        return _single(folder, name)
    points = points_of(plan, folder)
    point = best_of(plan, points) if plan.space else points[0]
    if point is None or not point.finished:
        raise UserError(f"no run of the study in {folder} is finished yet")
    counts = (("seeds", plan.seeds), ("folds", plan.folds))
    over = [f"{count} {what}" for what, count in counts if count]
    best = f"{point.name} of {len(points)}" if plan.space else ""
    outcomes = {
        Member(
            plan.flags["seed"] if each.member.seed is None else each.member.seed,
            plan.flags["fold"] if each.member.fold is None else each.member.fold,
        ): each
        for each in point.finished
    }
    flags = plan.flags | point.values
    return Group(name, flags, ", ".join(filter(None, [best, *over])), held_back(plan), outcomes)


def _single(folder: Path, name: str) -> Group:
    saved = run_folder.saved(folder)
    if saved is None:
        raise UserError(f"{folder} holds no run and no study; give the folder of one")
    found = outcome_in(folder)
    if found.state != "finished":
        raise UserError(f"the run in {folder} is not finished yet")
    flags = saved.flags
    return Group(name, flags, "a run", 0.0, {Member(flags["seed"], flags["fold"]): found})


def flag_rows(groups: Sequence[Group]) -> list[list[str]]:
    """The flags that are not the same in all groups."""
    names = dict.fromkeys(name for each in groups for name in each.flags if name not in _PLACES)
    rows = [
        [setting(name), *(short(each.flags.get(name, _NONE)) for each in groups)]
        for name in names
        if len({written(each.flags.get(name)) for each in groups}) > 1
    ]
    return rows or [["flags", *("the same" for _ in groups)]]


def result_rows(groups: Sequence[Group]) -> list[list[str]]:
    """Mean, deviation and interval of each figure of each group."""
    rows = [["over", *(each.over for each in groups)]]
    rows.append(["finished runs", *(str(len(each.outcomes)) for each in groups)])
    for name, (title, _) in FIGURES.items():
        found = [
            mean_of(list(values.values()), each.held_back)
            if (values := each.figures(name))
            else None
            for each in groups
        ]
        rows.append([title, *(number(each and each.mean) for each in found)])
        rows.append(["  sd", *(number(each and each.deviation) for each in found)])
        rows.append(["  95 % interval", *(interval(each and each.interval) for each in found)])
    return rows


def difference_rows(groups: Sequence[Group]) -> list[list[str]]:
    """What each group has more than the first, over the seeds and folds that both have."""
    first = groups[0]
    rows = [[f"less {first.name}", "mean", "95 % interval", "p", "pairs"]]
    for other in groups[1:]:
        for name, (title, _) in FIGURES.items():
            ours, theirs = first.figures(name), other.figures(name)
            both = [member for member in ours if member in theirs]
            pairs = [ours[member] for member in both], [theirs[member] for member in both]
            found = paired_difference(*pairs, max(first.held_back, other.held_back))
            if found:
                cells = [f"{found.mean:+.4f}", interval(found.interval), f"{found.p_value:.3g}"]
                rows.append([f"{other.name}: {title}", *cells, str(found.count)])
    return rows if len(rows) > 1 else []
