"""Trains a classifier on images: a new head on a frozen backbone, then its thawed top.

The same command again resumes a run that was stopped, at the step where it stood.
"""

import time

STARTED = time.monotonic()  # before the imports, which are a part of what a person waits for

from lib.runs import folder as run_folder
from lib.system import streams

streams.fill()  # before anything opens a file, which would take the place of a closed stream
streams.outlive_readers()

from lib.training.stopping import StopRequest

STOP = StopRequest()
STOP.listen()  # before the other imports, which Ctrl-C may interrupt

import errno
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn, TextIO

from absl import app
from absl import flags as absl_flags

import flags
from lib.config import Config
from lib.data.dataset import open_dataset, open_test_set
from lib.distribution.launch import Launcher
from lib.errors import Stopped, UserError
from lib.inference.baseline import open_baseline, require_baseline
from lib.system import runtime
from lib.system.progress import bar, say
from lib.train import suggest_rate, train

for topic in (flags.run, flags.data, flags.model, flags.phases):
    absl_flags.adopt_module_key_flags(topic)

WORKERS = Launcher()
LEAVING = threading.Lock()

# What the system answers where there is no room, or no right, to write.
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def main(_: list[str]) -> None:
    """Does what the command line asks for; an error that the user can correct is one line."""
    phase = flags.run.PHASE.value
    try:
        if phase == "evaluate":
            evaluate(flags.configuration(), flags.run.TEST_DIR.value, flags.run.AGAINST.value)
        elif name := flags.run.FIND_RATE.value:
            suggest_rate(flags.configuration(), name, STOP)
        else:
            train_together(flags.configuration(), phase)
    except UserError as error:
        give_up(str(error))
    except Stopped as stopped:
        # All is written and closed; taking TensorFlow down in order would take seconds more.
        leave(str(stopped), stopped.exit_code)
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        what = error.filename2 or error.filename or flags.configuration().workdir
        give_up(
            f"{what} cannot be written ({error.strerror}): make room or make it writable; the same"
            " command then goes on"
        )


def give_up(problem: str, code: int = 1) -> NoReturn:
    """Leaves the program with an error; from any thread."""
    if WORKERS.count == 1:
        sys.exit(f"train.py: error: {problem}")
    leave(f"train.py: error: {problem}", code, sys.stderr)


def leave(line: str, code: int, stream: TextIO | None = None) -> NoReturn:
    """Says a last line and ends the program at once, and with it the workers that it started."""
    LEAVING.acquire()  # whoever comes second has nothing to add
    if line:
        say(line, stream or sys.stdout)  # each worker says its own
    WORKERS.end()
    os._exit(code)


def train_together(config: Config, phase: str) -> None:
    """Trains, as one of several workers where there are others, or starts them on this machine."""
    cluster = WORKERS.join(config.workers, [sys.executable, *sys.argv], give_up)
    train(config, phase, STOP, STARTED, cluster, give_up)
    if cluster.count > 1:
        leave("", 0)


def evaluate(config: Config, test_dir: str | None, against: str | None) -> None:
    """Measures a run's best checkpoint on its test set, or on another set of images.

    With another run to compare it with, measures that on the same images.
    """
    folder = Path(config.workdir)
    before = run_folder.require_saved(folder)
    say(f"Evaluating {folder} on {test_dir or 'its test set'}")
    config = run_folder.continued(folder, flags.configuration(before.config), before)
    if against:
        require_baseline(Path(against), before)
    if test_dir:
        subset = open_test_set(Path(test_dir), before.facts["classes"], config, bar)
    else:
        dataset = open_dataset(config, bar)
        run_folder.require_same_images(folder, before, dataset)
        subset = dataset.test
    run_folder.report_skipped(folder / "evaluation", subset.store.skipped)
    baseline = against and open_baseline(Path(against), before, subset, not test_dir, bar)

    runtime.start(config.threads, config.seed)
    from lib.inference.outcome import evaluate_best

    evaluate_best(folder, config, subset, test_dir, baseline, STOP)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
