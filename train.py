"""Trains a classifier on pictures: a new head on a frozen backbone, then its thawed top.

The same command again resumes a run that was stopped, at the step where it stood.
"""

import time

STARTED = time.monotonic()  # before the imports, which are a part of what a person waits for

import sys
from pathlib import Path

from absl import app
from absl import flags as absl_flags

import flags
from lib import run_folder, runtime
from lib.config import PHASES, Config
from lib.data.dataset import open_dataset, open_test_set
from lib.errors import Stopped, UserError
from lib.reporting.progress import bar, say

for topic in (flags.run, flags.data, flags.model, flags.phases):
    absl_flags.adopt_module_key_flags(topic)


def main(_: list[str]) -> None:
    """Does what the command line asks for; an error that the user can mend is one line."""
    phase = flags.run.PHASE.value
    try:
        if phase == "evaluate":
            evaluate(flags.configuration(), flags.data.TEST_DIR.value)
        else:
            wanted = PHASES if phase == "all" else PHASES[: PHASES.index(phase) + 1]
            train(flags.configuration(), wanted)
    except UserError as error:
        sys.exit(f"train.py: error: {error}")
    except Stopped as stopped:
        say(f"Stopped by {stopped}: the same command goes on from here")
        sys.exit(stopped.exit_code)


def train(config: Config, phases: tuple[str, ...]) -> None:
    """Trains what is not trained yet of these phases, then measures the result on the test set."""
    folder = Path(config.workdir)
    say(f"Training {' and '.join(phases)} in {folder}")
    with run_folder.locked(folder):
        before = run_folder.saved(folder)
        config = run_folder.continued(folder, config, before)
        dataset = open_dataset(config, bar)
        run_folder.report_findings(folder, dataset)

        # Only now: it takes seconds, and what is wrong with flags or data has been said by then.
        runtime.start(config.threads, config.seed)
        from lib.training.loop import train_phase
        from lib.training.outcome import finish
        from lib.training.run import open_run

        with open_run(folder, config, dataset, before, STARTED) as run:
            for phase in phases:
                train_phase(run, config.phase(phase))
            finish(run)


def evaluate(config: Config, test_dir: str | None) -> None:
    """Measures a run's best checkpoint on its test set, or on another set of pictures."""
    folder = Path(config.workdir)
    before = run_folder.require_saved(folder)
    config = run_folder.continued(folder, flags.configuration(before.config), before)
    if test_dir:
        subset = open_test_set(Path(test_dir), before.facts["classes"], config, bar)
    else:
        subset = open_dataset(config, bar).test

    runtime.start(config.threads, config.seed)
    from lib.training.outcome import evaluate_best

    evaluate_best(folder, config, subset, test_dir)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
