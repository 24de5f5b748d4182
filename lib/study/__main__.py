"""Trains many runs of one command line: over seeds, over folds, or over a space of flags.

    python -m lib.study --study=FOLDER --seeds=5 -- FLAGS_OF_TRAIN

The same command again goes on with a study that was stopped, and with that alone,
`python -m lib.study --study=FOLDER`. Exit codes: 0 done; 1 a clear error, or runs failed; 2 bad
usage; 130 or 143 stopped by SIGINT or SIGTERM.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.config import setting
from lib.errors import Stopped, UserError
from lib.inference import command_line
from lib.study import plan as plans
from lib.study.plan import OBJECTIVES, Plan
from lib.study.processes import Processes, check
from lib.study.results import Point, leaks
from lib.study.table import text
from lib.study.work import fixed_runs, point_of, work
from lib.system import streams
from lib.system.progress import say
from lib.system.runtime import cores
from lib.training.stopping import StopRequest


def main(arguments: Sequence[str]) -> int:
    """Does what the command line asks for, and returns the exit code.

    Raises:
        UserError: the command line cannot be what the study is, or the folder cannot be written.
    """
    streams.outlive_readers()
    stop = StopRequest()
    stop.listen()
    study, plan = _asked(arguments)
    plans.begin(study, plan)
    stop.defer()
    processes = Processes()
    try:
        points = _carry_out(study, plan, processes, stop)
    except Stopped as stopped:
        processes.stop_all()
        say(str(stopped))
        return stopped.exit_code
    finally:
        processes.stop_all()
    for one, other in leaks(points):
        say(f"warning: {one} and {other} are the same image, in different folds or splits")
    say(f"\n{text(plan, points)}\n")
    return 0 if all(point.state in ("finished", "pruned") for point in points) else 1


def _carry_out(study: Path, plan: Plan, processes: Processes, stop: StopRequest) -> list[Point]:
    points = {"": {}}
    runs = len(points) * len(plan.members)
    say(f"Study of {runs} runs in {study}, {plan.jobs} at a time with {plan.threads} threads each")
    work(fixed_runs(plan, study, points, processes), plan.jobs, stop)
    return [point_of(plan, study, name, values) for name, values in points.items()]


def _asked(arguments: Sequence[str]) -> tuple[Path, Plan]:
    """The folder and the study that the command line asks for, checked.

    Raises:
        UserError: it cannot be done; nothing was written.
    """
    parser = _parser()
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    given, of_train = parser.parse_args(arguments[:cut]), tuple(arguments[cut + 1 :])
    given.study = given.study.absolute()
    before = plans.saved(given.study)
    if not (given.seeds or given.folds or given.space):
        if before is None:
            parser.error(
                f"expected {setting('seeds')}, {setting('folds')} or {setting('space')}, or the"
                f" {setting('study')} of one that was begun"
            )
        if not of_train:
            return given.study, before
    jobs = given.jobs or (before.jobs if before else 1)
    (answer,) = check([of_train], trainable=before is None)
    if "error" in answer:
        parser.error(f"behind --: {answer['error']}")
    plan = Plan(
        place=os.getcwd(),
        arguments=tuple(answer["arguments"]),
        flags=answer["flags"],
        seeds=given.seeds,
        folds=given.folds,
        objective=given.objective,
        jobs=jobs,
        threads=answer["flags"]["threads"] or max(1, cores() // jobs),
    )
    try:
        plans.checked_arguments(answer["given"], dataclasses.asdict(plan))
    except UserError as error:
        parser.error(str(error))
    return given.study, plan


def _parser() -> command_line.Parser:
    parser = command_line.Parser("lib.study", __doc__)
    parser.add_argument(
        "--study", required=True, type=command_line.path, metavar="FOLDER", help="of the study"
    )
    parser.add_argument(
        "--seeds", type=_count, default=0, metavar="N", help="run with each of N seeds"
    )
    parser.add_argument(
        "--folds",
        type=_folds,
        default=0,
        metavar="N",
        help="cross-validation: run with each of N folds of the training images held back",
    )
    parser.add_argument("--space", default="", help="search over these values of flags")
    parser.add_argument(
        "--objective",
        default="validation_accuracy",
        choices=tuple(OBJECTIVES),
        help="what runs are rated by, after their last epoch (default: validation_accuracy)",
    )
    parser.add_argument(
        "--jobs", type=_count, default=0, metavar="N", help="runs side by side (default: 1)"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10,000")
    return int(text)


def _folds(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 9999:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of folds, 2 at least")
    return int(text)


if __name__ == "__main__":
    command_line.run("lib.study", lambda: main(sys.argv[1:]))
