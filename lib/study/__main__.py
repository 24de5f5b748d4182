"""Trains many runs of one command line: over seeds, over folds, or over a space of flags.

    python -m lib.study --study=FOLDER --seeds=5 -- FLAGS_OF_TRAIN

The same command again goes on with a study that was stopped, and with that alone,
`python -m lib.study --study=FOLDER`. Exit codes: 0 done; 1 a clear error, or runs failed; 2 bad
usage; 130 or 143 stopped by SIGINT or SIGTERM.
"""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.config import setting, written
from lib.errors import Stopped, UserError
from lib.inference import command_line
from lib.study import plan as plans
from lib.study.best import write_best
from lib.study.page import PAGE, write_page
from lib.study.plan import OBJECTIVES, Plan
from lib.study.processes import Processes, check
from lib.study.results import Point, best_of, fixed_points, leaks, points_of
from lib.study.space import grid, parse, samples
from lib.study.table import text
from lib.study.work import fixed_runs, work
from lib.system import streams
from lib.system.atomic import NO_PLACE
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
    study, plan, url = _asked(arguments)
    if plan.storage != shown(url):
        raise UserError(
            f"{setting('study', study)} keeps its trials in {plan.storage or 'its own folder'}:"
            f" give that as {setting('storage')}, or another {setting('study')}"
        )
    plans.begin(study, plan)
    stop.defer()
    processes = Processes()
    try:
        points = _carry_out(study, plan, url, processes, stop)
        return _report(study, plan, points)
    except Stopped as stopped:
        processes.stop_all()
        say(str(stopped))
        return stopped.exit_code
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        raise UserError(
            f"{error.filename2 or error.filename or study} cannot be written ({error.strerror}):"
            " make room or make it writable; the same command then goes on"
        ) from error
    finally:
        processes.stop_all()


def _report(study: Path, plan: Plan, points: Sequence[Point]) -> int:
    """Says and writes down what the study came to, and returns the exit code."""
    for one, other in leaks(points):
        say(f"warning: {one} and {other} are the same image, in different folds or splits")
    say(f"\n{text(plan, points)}\n")
    if (best := best_of(plan, points)) and (path := write_best(plan, study, best)):
        say(f"The flags of the best run: {path}")
    write_page(plan, study, points)
    shutil.rmtree(study / plans.FEATURES, ignore_errors=True)  # no run is left that needs them
    say(f"All of it on one page: {study / PAGE}")
    return 0 if all(point.state in ("finished", "pruned") for point in points) else 1


def _carry_out(
    study: Path, plan: Plan, url: str, processes: Processes, stop: StopRequest
) -> list[Point]:
    how = f"{plan.jobs} at a time with {plan.threads} threads each"
    of = f" of {len(plan.members)} runs" if len(plan.members) > 1 else ""
    if plan.trials:
        from lib.study.search import Search, storage_errors  # it imports Optuna
        from lib.study.trials import search_tasks, write_trials

        with storage_errors(shown(url) or str(study)):
            search = Search(study, plan, parse(plan.space), url)
            search.prepare(plan.trials)
            trials = f"{plan.trials} trial{'s' * (plan.trials > 1)}{of}"
            say(f"Study of {trials} in {study}, {how}")
            work(search_tasks(plan, study, search, processes), plan.jobs, stop)
            write_trials(study, search)
    else:
        points = fixed_points(plan)
        count = len(points) * len(plan.members)
        say(f"Study of {count} run{'s' * (count > 1)} in {study}, {how}")
        work(fixed_runs(plan, study, points, processes), plan.jobs, stop)
    return points_of(plan, study)


def _asked(arguments: Sequence[str]) -> tuple[Path, Plan, str]:
    """The folder, the study and the storage that the command line asks for, checked.

    Raises:
        UserError: it cannot be done; nothing was written.
    """
    parser = _parser()
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    given, of_train = parser.parse_args(arguments[:cut]), tuple(arguments[cut + 1 :])
    study = given.study.absolute()
    before = plans.saved(study)
    if not (given.seeds or given.folds or given.space):
        if before is None:
            parser.error(
                f"expected {setting('seeds')}, {setting('folds')} or {setting('space')}, or the"
                f" {setting('study')} of one that was begun"
            )
        if not of_train:
            return study, before, given.storage
    try:
        return study, _plan(given, of_train, before), given.storage
    except UserError as error:
        parser.error(str(error))


def _plan(given: argparse.Namespace, of_train: tuple[str, ...], before: Plan | None) -> Plan:
    """The study that is asked for.

    Args:
        given: the arguments of this command.
        of_train: those of `train.py`.
        before: the study in the folder; None for a new one.

    Raises:
        UserError: it cannot be done.
    """
    space = parse(given.space) if given.space else {}
    if space and not given.trials and grid(space) is None:
        raise UserError(
            f"{setting('space', given.space)} has ranges, so that there is no end of it: give"
            f" {setting('trials')} too"
        )
    if given.trials and not space:
        raise UserError(f"{setting('trials', given.trials)} is for a {setting('space')}")
    if given.storage and not given.trials:
        raise UserError(f"{setting('storage')} is for {setting('trials')}")
    jobs = given.jobs or (before.jobs if before else 1)
    share = before.threads if before else max(1, cores() // jobs)
    answers = check([of_train], trainable=before is None and not space)
    flags, arguments = _sound(answers[0], of_train)
    plan = Plan(
        place=os.getcwd(),
        arguments=tuple(arguments),
        flags=flags,
        seeds=given.seeds,
        folds=given.folds,
        space=given.space.strip(),
        trials=given.trials,
        objective=given.objective,
        prune=not given.no_prune,
        share=not given.no_share,
        jobs=jobs,
        threads=flags["threads"] or share,
        storage=shown(given.storage),
    )
    plans.require_free(set(answers[0]["given"]), plan, space)
    if before is None and (space or plan.folds):
        # Each value once, with the last fold, which finds classes with too few images.
        fold = plan.members[-1].arguments
        points = list(samples(space)) if space else [{}]
        lines = [
            (*of_train, *(setting(name, written(value)) for name, value in point.items()), *fold)
            for point in points
        ]
        for answer, line in zip(check(lines, trainable=True), lines, strict=True):
            _sound(answer, line)
    return plan


def _sound(answer: Mapping[str, Any], line: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    if "error" in answer:
        raise UserError(f"train.py {shlex.join(line)}: {answer['error']}")
    return answer["flags"], answer["arguments"]


def shown(url: str) -> str:
    """A storage as it may be written down; empty for a file in the study's folder."""
    if not url:
        return ""
    from lib.study.search import shown_url  # it imports Optuna

    return shown_url(url)


def _parser() -> command_line.Parser:
    parser = command_line.Parser("lib.study", __doc__)
    study = setting("study", "FOLDER")
    parser.epilog = (
        f"Behind -- stand flags of train.py: python -m lib.study {study} {setting('seeds', 5)} --"
        f" {setting('dataset', 'pets')}. The same command, or {study} alone, goes on with a study"
        " that was stopped."
    )
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
    parser.add_argument(
        "--space",
        default="",
        metavar="FLAG=VALUES;...",
        help="search over these: rate=log(1e-6, 1e-3); dropout=uniform(0, 0.5); epochs=int(1, 4);"
        " optimizer=adam|rmsprop",
    )
    parser.add_argument(
        "--trials",
        type=_count,
        default=0,
        metavar="N",
        help="how many points of the space Optuna chooses (default: every combination, in order)",
    )
    parser.add_argument(
        "--storage",
        default="",
        metavar="URL",
        help="a database that several machines share, such as postgresql+psycopg://user@host/name"
        " (default: a file in the study's folder)",
    )
    parser.add_argument(
        "--no_prune", action="store_true", help="train trials that do badly to their end, too"
    )
    parser.add_argument(
        "--no_share",
        action="store_true",
        help="compute anew in each trial what all have in common: earlier phases, and features",
    )
    parser.add_argument(
        "--objective",
        default=Plan.objective,
        choices=tuple(OBJECTIVES),
        help="what runs are rated by, and trials chosen and given up: that of a run's best epoch,"
        f" the one of the lowest validation loss (default: {Plan.objective})",
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
