"""Trains a classifier on pictures: a new head on a frozen backbone, then its thawed top.

The same command again resumes a run that was stopped, at the step where it stood.
"""

import time

STARTED = time.monotonic()  # before the imports, which are a part of what a person waits for

from lib import streams

streams.fill()  # before anything opens a file, which would take the place of a closed stream
streams.outlive_readers()

from lib.training.stopping import StopRequest

STOP = StopRequest()  # before the other imports, which Ctrl-C may interrupt

import errno
import os
import sys
from pathlib import Path

from absl import app
from absl import flags as absl_flags

import flags
from lib import faults, run_folder, runtime
from lib.config import PHASES, Config
from lib.data.dataset import list_classes_of, open_dataset, open_test_set, require_outside
from lib.errors import Stopped, UserError
from lib.model.weights import fetch
from lib.reporting.progress import bar, say
from lib.training.rival import open_rival, require_rival

for topic in (flags.run, flags.data, flags.model, flags.phases):
    absl_flags.adopt_module_key_flags(topic)

# What the system answers where there is no room, or no right, to write.
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def main(_: list[str]) -> None:
    """Does what the command line asks for; an error that the user can mend is one line."""
    phase = flags.run.PHASE.value
    try:
        if phase == "evaluate":
            evaluate(flags.configuration(), flags.run.TEST_DIR.value, flags.run.AGAINST.value)
        else:
            train(flags.configuration(), phase)
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


def train(config: Config, last: str) -> None:
    """Trains what is not trained yet, then measures the result on the test set.

    Args:
        config: what the run is.
        last: the phase to end with, or "all".
    """
    phases = PHASES if last == "all" else PHASES[: PHASES.index(last) + 1]
    folder = Path(config.workdir)
    require_outside(config)  # before it is made
    say(f"Training {' and '.join(phases)} in {folder}")
    with run_folder.locked(folder):
        before = run_folder.saved(folder)
        config = run_folder.continued(folder, config, before)
        if not config.from_run:
            # Missed now, and not when it is read.
            fetch(config.weights, config.alpha, config.image_size, bar)
        classes = list_classes_of(config, bar)

        faults.point("tensorflow")
        # It takes seconds, so that most of what can be wrong has been said by then; reading all
        # pictures may take minutes, so that what TensorFlow must be asked for is asked before.
        runtime.start(config.threads, config.seed)
        from lib.training.loop import train_phase
        from lib.training.outcome import finish
        from lib.training.resume import find_head
        from lib.training.run import build_network, open_run

        network = build_network(config, len(classes))
        find_head(config, classes, before)
        dataset = open_dataset(config, bar)
        if before:
            run_folder.require_same_pictures(folder, before, dataset)
        run_folder.report_findings(folder, dataset)
        with open_run(folder, config, dataset, before, STARTED, STOP, network) as run:
            if last == "finetune" and run.state.journal.epochs_of("head") < config.head_epochs:
                say("This run has no finished head yet: the head is trained first")
            for phase in phases:
                train_phase(run, config.phase(phase))
            finish(run)


def evaluate(config: Config, test_dir: str | None, against: str | None) -> None:
    """Measures a run's best checkpoint on its test set, or on another set of pictures.

    With another run to compare it with, measures that on the same pictures.
    """
    folder = Path(config.workdir)
    before = run_folder.require_saved(folder)
    say(f"Evaluating {folder} on {test_dir or 'its test set'}")
    config = run_folder.continued(folder, flags.configuration(before.config), before)
    if against:
        require_rival(Path(against), before)
    if test_dir:
        subset = open_test_set(Path(test_dir), before.facts["classes"], config, bar)
    else:
        dataset = open_dataset(config, bar)
        run_folder.require_same_pictures(folder, before, dataset)
        subset = dataset.test
    run_folder.report_skipped(folder / "evaluation", subset.store.skipped)
    rival = against and open_rival(Path(against), before, subset, not test_dir, bar)

    runtime.start(config.threads, config.seed)
    from lib.training.outcome import evaluate_best

    evaluate_best(folder, config, subset, test_dir, rival, STOP)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
