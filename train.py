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

import atexit
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn, TextIO

# Figures are drawn into files, and matplotlib refuses to be imported where this names nothing.
os.environ.pop("MPLBACKEND", None)

from absl import app
from absl import flags as absl_flags

import flags
from lib.config import Config
from lib.distribution.launch import Launcher
from lib.errors import Stopped, UserError, last_line
from lib.system.atomic import NO_PLACE
from lib.system.progress import say
from lib.train import dry_run, evaluate, suggest_rate, train

for topic in (flags.run, flags.data, flags.model, flags.phases):
    absl_flags.adopt_module_key_flags(topic)

WORKERS = Launcher()
LEAVING = threading.Lock()


def main(_: list[str]) -> None:
    """Does what the command line asks for; an error that the user can correct is one line."""
    phase = flags.run.PHASE.value
    try:
        if phase == "evaluate":
            of_run = run_folder.require_saved(Path(flags.configuration().workdir)).config
            config = flags.configuration(of_run)
            evaluate(
                config,
                flags.run.TEST_DIR.value,
                flags.run.AGAINST.value,
                STOP,
                flags.run.TTA.value,
                flags.run.ENSEMBLE.value,
                flags.run.CALIBRATE.value,
            )
        elif flags.run.DRY_RUN.value:
            dry_run(flags.configuration())
        elif name := flags.run.FIND_RATE.value:
            suggest_rate(flags.configuration(), name, STOP)
        else:
            train_together(flags.configuration(), phase)
        atexit._run_exitfuncs()  # some of which remove temporary files
        leave("", 0)
    except UserError as error:
        give_up(str(error))
    except Stopped as stopped:
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
        sys.exit(last_line(problem))
    leave(last_line(problem), code, sys.stderr)


def leave(line: str, code: int, stream: TextIO | None = None) -> NoReturn:
    """Says a last line and ends the program at once, and with it the workers that it started.

    All is written and closed by then; taking TensorFlow down in order would take seconds more.
    """
    LEAVING.acquire()  # whoever comes second has nothing to add
    if line:
        say(line, stream or sys.stdout)  # each worker says its own
    WORKERS.end()
    os._exit(code)


def train_together(config: Config, phase: str) -> None:
    """Trains, as one of several workers where there are others, or starts them on this machine."""
    cluster = WORKERS.join(config.workers, [sys.executable, *sys.argv], give_up)
    train(config, phase, STOP, STARTED, cluster, give_up)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
