"""A run from its beginning to its result."""

import dataclasses
import time
from pathlib import Path

from lib import plugins
from lib.config import Config, resolved, setting
from lib.data.dataset import list_splits_of, require_outside
from lib.runs import folder as run_folder
from lib.system import runtime
from lib.system.progress import bar, say
from lib.training.parts import open_parts, require_obtainable
from lib.training.stopping import StopRequest


def train(
    config: Config,
    until: str = "all",
    stop: StopRequest | None = None,
    started: float | None = None,
) -> Path:
    """Trains what is not trained yet of a run, then measures the result on the test set.

    From a notebook, or a program of your own:

        from lib.config import Config
        from lib.train import train

        folder = train(Config(dataset="drawn", weights="drawn", alpha=0.35, image_size=96))

    Args:
        config: what the run is.
        until: the phase to end with, or "all".
        stop: whether the program is asked to end; None where no signal is handled.
        started: when the program was, by `time.monotonic`; None for now.

    Returns:
        The folder of the run.

    Raises:
        Stopped: a signal came, and a checkpoint was written.
        UserError: something that the user can correct; the message is one line.
    """
    started = time.monotonic() if started is None else started
    config, stop = resolved(config), stop or StopRequest()
    names = [phase.name for phase in config.phases]
    phases = config.phases if until == "all" else config.phases[: names.index(until) + 1]
    folder = Path(config.workdir)
    require_outside(config)  # before it is made
    say(f"Training {' and '.join(phase.name for phase in phases)} in {folder}")
    with run_folder.locked(folder):
        parts = open_parts(folder, config)
        run_folder.report_findings(folder, parts.dataset)
        from lib.inference.outcome import finish
        from lib.runs.early_stopping import is_finished
        from lib.training.loop import train_phase
        from lib.training.run import open_run

        with open_run(folder, parts, started, stop) as run:
            history = run.state.journal.history
            missing = [phase.name for phase in phases[:-1] if not is_finished(phase, history)]
            if until != "all" and missing:
                say(f"This run has no finished {missing[0]} yet: it is trained first")
            for phase in phases:
                train_phase(run, phase)
            finish(run)
    return folder


def dry_run(config: Config) -> None:
    """Says what a run would train, and what an epoch of it costs here; no folder is made.

    Args:
        config: what the run would be.

    Raises:
        UserError: something that the user can correct; the message is one line.
    """
    config = resolved(config)
    config = dataclasses.replace(config, threads=config.threads or runtime.cores())
    require_obtainable(config)
    splits = list_splits_of(config, bar)
    runtime.start(config.threads, config.seed)
    from lib.training.dry_run import describe
    from lib.training.trainable import build_network

    plugins.load(config.plugin)
    network = build_network(config, splits.classes, config.from_run and Path(config.from_run))
    describe(config, network, splits.classes, len(splits.train))


def suggest_rate(config: Config, name: str, stop: StopRequest | None = None) -> float:
    """Tries rising learning rates on a phase, from where it begins; nothing of the run changes.

    Writes a figure to `find_rate/` in the folder of the run.

    Args:
        config: what the run is.
        name: of the phase.
        stop: as for `train`.

    Returns:
        The rate that is suggested.

    Raises:
        Stopped: a signal came.
        UserError: something that the user can correct; the message is one line.
    """
    config, stop = resolved(config), stop or StopRequest()
    folder = Path(config.workdir)
    say(f"Trying learning rates for the phase {name} of {folder}; nothing of the run changes")
    parts = open_parts(folder, config)
    from lib.reporting import plots
    from lib.runs import resume
    from lib.training import rate_finder

    config, network, dataset = parts.config, parts.network, parts.dataset
    resume.other_run(network, config, list(dataset.classes), parts.before)
    rate_finder.load_beginning(network, config, config.phase(name), folder)
    stop.defer()
    test = rate_finder.find_rate(config, config.phase(name), network, dataset, stop)
    figure = folder / "find_rate" / f"{name}.png"
    plots.save(plots.rate_test(test.rates, test.losses, test.suggestion), figure)
    say(f"The loss fell the fastest at {setting(f'{name}_learning_rate', test.suggestion)}")
    say(f"How it went: {figure}")
    return test.suggestion
