"""A run from its beginning to its result, and what is asked of it."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib import plugins
from lib.config import Config, resolved, setting
from lib.data.dataset import list_splits_of, open_dataset, open_test_set, require_outside
from lib.distribution.cluster import ALONE, Cluster
from lib.distribution.meeting import Meeting
from lib.inference.baseline import open_baseline, require_baseline
from lib.inference.views import view_count
from lib.model.backbones import require_known
from lib.runs import folder as run_folder
from lib.system import runtime
from lib.system.progress import bar, say
from lib.training.parts import fetch_weights, open_parts
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
            for phase in phases[:-1]:
                train_phase(run, phase)
            finish(run, train_phase(run, phases[-1]))
            run.workers.wait()
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
    require_known(config)
    fetch_weights(config)
    splits = list_splits_of(config, bar)
    runtime.start(config.threads, config.seed)
    from lib.training.dry_run import describe
    from lib.training.trainable import build_network

    plugins.load(config.plugin)
    network = build_network(config, splits.classes, config.from_run and Path(config.from_run))
    describe(config, network, splits.classes, len(splits.train))


def evaluate(
    config: Config,
    test_dir: str | None = None,
    against: str | None = None,
    stop: StopRequest | None = None,
    tta: str | None = None,
    ensemble: Sequence[str] = (),
    calibrate: bool = False,
) -> None:
    """Measures a run's best checkpoint on its test set, or on another set of images.

    Args:
        config: the configuration of the run, whose folder is its `workdir`.
        test_dir: folder of the other set; None for the run's own test set.
        against: folder of another run, which is measured on the same images and compared.
        stop: as for `train`.
        tta: views of each image to average over too, "flip" or a number of them.
        ensemble: folders of other runs to average with too.
        calibrate: whether to find on the validation set the temperature that makes probabilities
            say how often they are right, for predictions and exports from then on.

    Raises:
        Stopped: a signal came.
        UserError: something that the user can correct; the message is one line.
    """
    folder, stop, views = Path(config.workdir), stop or StopRequest(), view_count(tta)
    before = run_folder.require_saved(folder)
    say(f"Evaluating {folder} on {test_dir or 'its test set'}")
    config = run_folder.continued(folder, config, before)
    if against:
        require_baseline(Path(against), before)
    for each in ensemble:
        require_baseline(Path(each), before, "ensemble")
    if calibrate or not test_dir:
        dataset = open_dataset(config, bar)
        run_folder.require_same_images(folder, before, dataset)
        subset, validation = dataset.test, dataset.validation if calibrate else None
    else:
        validation = None
    if test_dir:
        subset = open_test_set(Path(test_dir), before.facts["classes"], config, bar)
    run_folder.report_skipped(folder / "evaluation", subset.store.skipped)
    baseline = against and open_baseline(Path(against), before, subset, not test_dir, bar)
    others = [open_baseline(Path(each), before, subset, not test_dir, bar) for each in ensemble]

    runtime.start(config.threads, config.seed)
    from lib.inference.outcome import Extras, evaluate_best

    extras = Extras(views, others, validation)
    # A calibration is added to the result of the run, which nobody else may write meanwhile.
    with run_folder.locked(folder) if calibrate else contextlib.nullcontext():
        evaluate_best(folder, config, subset, test_dir, baseline, stop, extras)


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
