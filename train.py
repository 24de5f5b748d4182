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

import os
import sys
from pathlib import Path

# Figures are drawn into files, and matplotlib refuses to be imported where this names nothing.
os.environ.pop("MPLBACKEND", None)

from absl import app
from absl import flags as absl_flags

import flags
from lib.errors import Stopped, UserError
from lib.system.atomic import NO_PLACE
from lib.system.progress import say
from lib.train import dry_run, evaluate, suggest_rate, train

for topic in (flags.run, flags.data, flags.model, flags.phases):
    absl_flags.adopt_module_key_flags(topic)


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
            train(flags.configuration(), phase, STOP, STARTED)
    except UserError as error:
        sys.exit(f"train.py: error: {error}")
    except Stopped as stopped:
        say(str(stopped))
        # All is written and closed; taking TensorFlow down in order would take seconds more.
        os._exit(stopped.exit_code)
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        what = error.filename2 or error.filename or flags.configuration().workdir
        sys.exit(
            f"train.py: error: {what} cannot be written ({error.strerror}): make room or make it"
            " writable; the same command then goes on"
        )


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
