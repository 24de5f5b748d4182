"""A run from its beginning to its result."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lib.config import Config, resolved, setting
from lib.data.dataset import require_outside
from lib.distribution.cluster import ALONE, Cluster
from lib.distribution.meeting import Meeting
from lib.runs import folder as run_folder
from lib.system.progress import say
from lib.training.parts import open_parts
from lib.training.stopping import StopRequest

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.distribution.workers import Workers


def train(
    config: Config,
    until: str = "all",
    stop: StopRequest | None = None,
    started: float | None = None,
    cluster: Cluster = ALONE,
    give_up: Callable[[str], None] = lambda line: None,
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
        cluster: all workers that train the run, and which of them this is.
        give_up: ends the process with a line, where another worker does not answer.

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
    meeting = Meeting(cluster)
    if cluster.count > 1:
        stop.share()

    def connect() -> "Workers":
        from lib.distribution.workers import Workers

        workers = Workers(cluster, lambda: stop.number, stop.agree, give_up)
        stop.listen_again()  # TensorFlow takes SIGTERM for a preemption of the machine
        return workers

    say(f"Training {' and '.join(phase.name for phase in phases)} in {folder}")
    with run_folder.locked(folder) if cluster.chief else contextlib.nullcontext():
        parts = open_parts(folder, config, meeting, connect)
        if cluster.chief:
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
            run.workers.wait()
    return folder


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
    parts = open_parts(folder, config, Meeting(), lambda: None)
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
