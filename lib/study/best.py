"""`best.cfg`: a flag file that gives the best run of a study again, bit for bit."""

import os
from pathlib import Path

from lib.config import not_default, setting
from lib.runs import folder as run_folder
from lib.study.plan import Plan
from lib.study.results import Outcome, Point
from lib.system.files import write_text

BEST = "best.cfg"


def best_run(plan: Plan, point: Point) -> Outcome | None:
    """Of the runs of the best point, the one that is rated best, of equals the first."""
    return plan.best(point.finished, lambda each: each.figure(plan.objective))


def write_best(plan: Plan, study: Path, point: Point) -> Path | None:
    """Writes the flag file.

    Args:
        plan: the study.
        study: its folder.
        point: the best one.

    Returns:
        Where it is; None where there is no finished run.

    Raises:
        UserError: the run's configuration is damaged.
    """
    best = best_run(plan, point)
    if best is None:
        return None
    write_text(study / BEST, flag_file(plan, best))
    return study / BEST


def flag_file(plan: Plan, best: Outcome) -> str:
    """The flags of a run, one per line, with what it comes to."""
    run = run_folder.require_saved(best.run.folder)
    flags, config = run.flags, run.config
    lines = [
        f"# {best.run.name}, {plan.rule}: {best.figure(plan.objective):.6g}",
        "# This file alone gives it again:",
        f"# weights sha256 {best.result['weights_sha256']}",
    ]
    left_out = {"workdir", "plugin", "share_features"}
    if config.from_run:
        before = [phase.name for phase in config.phases]
        before = before[: before.index(config.from_phase) + 1]
        left_out |= {f"{phase}_epochs" for phase in before}
        lines.append(
            f"# It begins with the phase {config.from_phase} of the run that {setting('from_run')}"
            " names, which must stay where it is."
        )
    if config.fold:
        lines.append(f"# Without {setting('fold')} it is trained on all training images.")
    for name, value in not_default(flags).items():
        if name in left_out:
            continue
        if name == "weights" and os.path.exists(os.path.join(plan.place, value)):
            value = os.path.abspath(os.path.join(plan.place, value))
        lines.append(setting(name, value))
    lines += [setting("plugin", path) for path in flags["plugin"]]
    return "\n".join(lines) + "\n"
