"""What a study is: a command line of `train.py`, and what is varied from run to run."""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from lib.config import HOUSEKEEPING, PHASE_FLAGS, setting, written
from lib.errors import UserError
from lib.runs import folder as run_folder
from lib.system.atomic import is_temporary
from lib.system.files import read_json, write_json
from lib.system.runtime import provenance

STUDY = "study.json"
FEATURES = "features"  # a folder of what runs share while the study goes on
# What a run can be rated by, and whether more of it is better. It is always that of the run's best
# epoch (`lib.runs.early_stopping.best_epoch`), whose weights the run keeps and is tested with.
OBJECTIVES = {"validation_loss": False, "validation_accuracy": True}
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a study is, as `study.json` keeps it.

    Attributes:
        place: the folder that relative paths start from.
        arguments: of `train.py`, those in flag files included.
        flags: what they add up to, see `lib.config.Config.to_json`.
        seeds: how many seeds, from that of `flags` on; 0 for that one alone.
        folds: how many folds; 0 for the validation set of the data.
        space: what is searched, see `lib.study.space`; empty for nothing.
        trials: how many points of the space; 0 for all.
        objective: what they are rated by, a key of `OBJECTIVES`.
        prune: whether runs that do badly are given up.
        share: whether runs share what is the same in them: phases before those in which they
            differ, and features that they keep in memory.
        jobs: runs side by side.
        threads: processor threads of each run.
        storage: where trials are kept, without a password; empty for a file in the folder.
    """

    place: str
    arguments: tuple[str, ...]
    flags: dict[str, Any]
    seeds: int = 0
    folds: int = 0
    space: str = ""
    trials: int = 0
    objective: str = "validation_loss"
    prune: bool = True
    share: bool = True
    jobs: int = 1
    threads: int = 1
    storage: str = ""

    @property
    def larger_is_better(self) -> bool:
        """Whether more of the objective is better."""
        return OBJECTIVES[self.objective]

    @property
    def rule(self) -> str:
        """What runs are rated by, in words."""
        title = self.objective.replace("_", " ")
        return (
            f"rated by the {title} of the best epoch, which is that of the lowest validation loss"
        )

    def best(self, candidates: Iterable[_T], rating: Callable[[_T], float | None]) -> _T | None:
        """The candidate that is rated best, of equals the first; None where none is rated."""
        sign = 1 if self.larger_is_better else -1
        rated = [(sign * value, each) for each in candidates if (value := rating(each)) is not None]
        return max(rated, key=lambda pair: pair[0], default=(0.0, None))[1]

    @property
    def members(self) -> list["Member"]:
        """What each point is run with, in order: each seed, and of each seed each fold."""
        first = self.flags["seed"]
        seeds = range(first, first + self.seeds) if self.seeds else [None]
        folds = [f"{k}/{self.folds}" for k in range(1, self.folds + 1)] if self.folds else [None]
        return [Member(*each) for each in itertools.product(seeds, folds)]


@dataclasses.dataclass(frozen=True)
class Member:
    """A seed and a fold with which a point is run; None for that of the command line."""

    seed: int | None
    fold: str | None

    @property
    def name(self) -> str:
        """For people and for folders, such as `seed-0-fold-1`; empty where nothing is varied."""
        seed = [] if self.seed is None else [f"seed-{self.seed}"]
        fold = [] if self.fold is None else [f"fold-{self.fold.partition('/')[0]}"]
        return "-".join([*seed, *fold])

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `train.py`."""
        given = {"seed": self.seed, "fold": self.fold}
        return tuple(setting(name, value) for name, value in given.items() if value is not None)


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """A run of a study.

    Attributes:
        name: of its folder.
        arguments: of `train.py`, without the folder.
        study: the study's folder.
        place: the folder that relative paths start from.
    """

    name: str
    arguments: tuple[str, ...]
    study: Path
    place: str

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.study / "runs" / self.name

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.study / "logs" / f"{self.name}.txt"

    @property
    def failure(self) -> Path:
        """Holds the error with which it ended, if it failed."""
        return self.study / "failed" / f"{self.name}.txt"


def shared_phase(plan: Plan, varied: Collection[str]) -> str | None:
    """The last phase that is the same in all runs of a member, as flags of later ones alone vary.

    Args:
        plan: the study.
        varied: the names of the flags in its space.

    Returns:
        Its name; None where every run has to train all of its phases.
    """
    if not (plan.share and varied) or plan.flags["from_run"]:
        return None
    phases = plan.flags["phases"]
    phase_of = {
        f"{phase}_{flag}": place for place, phase in enumerate(phases) for flag in PHASE_FLAGS
    }
    if "finetune" in phases:
        phase_of["fine_tune_at"] = phases.index("finetune")
    first = min(phase_of.get(name, 0) for name in varied)
    return phases[first - 1] if first and plan.flags[f"{phases[first - 1]}_epochs"] else None


def head_of(plan: Plan, study: Path, phase: str, member: Member) -> StudyRun:
    """The run that trains a member's phases up to the last shared one."""
    whole = run_of(plan, study, "head", {}, member)
    return dataclasses.replace(whole, arguments=(*whole.arguments, setting("phase", phase)))


def run_of(
    plan: Plan, study: Path, point: str, values: Mapping[str, Any], member: Member
) -> StudyRun:
    """The run of a point with a member.

    Args:
        plan: the study.
        study: its folder.
        point: the name of the point; empty for the command line itself.
        values: the flags of the point.
        member: its seed and fold.
    """
    name = "-".join(filter(None, [point, member.name])) or "run"
    varied = tuple(setting(flag, written(value)) for flag, value in values.items())
    if phase := shared_phase(plan, values):
        head = head_of(plan, study, phase, member)
        varied += (setting("from_run", head.folder), setting("from_phase", phase))
    given = {"threads": plan.threads}
    if plan.share and plan.space:  # over seeds and folds, no features are the same
        given["share_features"] = study / FEATURES
    ours = [setting(flag, value) for flag, value in given.items() if not plan.flags.get(flag)]
    return StudyRun(name, (*plan.arguments, *ours, *varied, *member.arguments), study, plan.place)


def saved(study: Path) -> Plan | None:
    """Reads `study.json`; None for a new study.

    Raises:
        UserError: the file is damaged, or of another version.
    """
    if not (study / STUDY).exists():
        return None
    found = read_json(study / STUDY)
    found.pop("made_by", None)
    try:
        return Plan(**found | {"arguments": tuple(found["arguments"])})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{study / STUDY} cannot be read: it is damaged or of another version; restore it from"
            f" a copy, or give another {setting('study')}"
        ) from error


def begin(study: Path, plan: Plan) -> None:
    """Makes the study's folder where it is missing, and makes sure that it is this study's.

    Raises:
        UserError: the folder holds another study or something else, or cannot be written.
    """
    before = saved(study)
    if before is not None:
        _require_same(study, before, plan)
    try:
        study.mkdir(parents=True, exist_ok=True)
        strange = [path.name for path in study.iterdir() if not is_temporary(path)]
        if before is None and strange:
            what = "is a run" if run_folder.CONFIG in strange else "is neither empty nor a study"
            raise UserError(
                f"{setting('study', study)} {what} ({min(strange)} is in it): give a new or empty"
                " folder, or that of a study"
            )
        write_json(study / STUDY, dataclasses.asdict(plan) | {"made_by": provenance()})
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{setting('study', study)} is a file, or lies below one; expected a folder, or none"
            " yet"
        ) from error
    except OSError as error:
        raise UserError(
            f"{setting('study', study)} cannot be written ({error.strerror}): make room or give a"
            " folder that can be written"
        ) from error


def _require_same(study: Path, before: Plan, now: Plan) -> None:
    changes = [
        f"{field.name} ({getattr(before, field.name) or 'none'} there,"
        f" {getattr(now, field.name) or 'none'} now)"
        for field in dataclasses.fields(Plan)
        if field.name not in ("place", "arguments", "flags", "trials")
        and getattr(before, field.name) != getattr(now, field.name)
    ]
    names = dict.fromkeys([*before.flags, *now.flags])
    changes += [
        f"{name} ({written(before.flags.get(name))} there, {written(now.flags.get(name))} now)"
        for name in names
        if name not in HOUSEKEEPING and before.flags.get(name) != now.flags.get(name)
    ]
    if now.trials < before.trials:
        changes.append(
            f"trials ({before.trials} there, {now.trials} now, and only more may follow)"
        )
    if changes:
        raise UserError(
            f"{setting('study', study)} holds another study, which differs in"
            f" {', '.join(changes)}: give what it was begun with, or another {setting('study')}"
        )


def require_free(given: Set[str], plan: Plan, varied: Collection[str]) -> None:
    """Makes sure that no flag is given, or searched over, that the study decides by itself.

    Args:
        given: the names of the flags of `train.py` that were set.
        plan: the study.
        varied: the names of the flags in its space.

    Raises:
        UserError: one is.
    """
    own = {"workdir", "phase"} | ({"fold"} if plan.folds else set())
    # What is no part of a configuration asks for something else than training.
    own |= given - plan.flags.keys() - {"fine_tune_at"}
    if clash := sorted(own & {*given, *varied}):
        raise UserError(f"{setting(clash[0])} is decided by the study itself: leave it out")
    if plan.seeds and "seed" in varied:
        raise UserError(f"{setting('seed')} is in {setting('space')} and in {setting('seeds')}")
