"""A run from its beginning to its result."""

import time
from pathlib import Path

from lib import faults, plugins, run_folder, runtime
from lib.config import Config, resolved, weight_file
from lib.data.dataset import open_dataset
from lib.reporting.progress import bar, say
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
        from lib.training.train import train

        folder = train(Config(dataset="drawn", weights="drawn", alpha=0.35, image_size=96))

    Args:
        config: what the run is.
        until: the phase to end with, or "all".
        stop: whether the program is asked to end; None where nobody asks but by an exception.
        started: when the program was, by `time.monotonic`; None for now.

    Returns:
        The folder of the run.

    Raises:
        Stopped: a signal came, and a checkpoint was written.
        UserError: something that the user can mend; the message is one line.
    """
    started = time.monotonic() if started is None else started
    config, stop = resolved(config), stop or StopRequest()
    names = [phase.name for phase in config.phases]
    phases = config.phases if until == "all" else config.phases[: names.index(until) + 1]
    folder = Path(config.workdir)
    say(f"Training {' and '.join(phase.name for phase in phases)} in {folder}")
    with run_folder.locked(folder):
        before = run_folder.saved(folder)
        config = run_folder.continued(folder, config, before)
        if not config.from_run:
            weight_file(config.weights)  # missed now, and not when it is read

        faults.point("tensorflow")
        # Not before: it takes seconds, and much of what can be wrong has been said by then.
        runtime.start(config.threads, config.seed)
        found = {"plugins": plugins.load(config.plugin)}
        if before:
            run_folder.require_same(folder, before.facts, found)
        from lib.training.loop import train_phase
        from lib.training.outcome import finish
        from lib.training.run import open_backbone, open_run

        backbone = open_backbone(config)
        dataset = open_dataset(config, bar)
        run_folder.report_findings(folder, dataset)
        with open_run(folder, config, backbone, dataset, before, found, started, stop) as run:
            for phase in phases:
                train_phase(run, phase)
            finish(run)
    return folder
