"""A run: what its phases share, opened where it stood."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lib import run_folder
from lib.atomic import remove_leftovers
from lib.config import Config
from lib.data.augment import augment
from lib.data.dataset import Dataset
from lib.data.order import steps_per_epoch
from lib.model.network import Network, build, weights_sha256
from lib.model.weights import load_pretrained
from lib.reporting import plots
from lib.reporting.progress import bar, say
from lib.reporting.reports import Reports
from lib.training import resume
from lib.training.checkpoints import Checkpoints, step_of
from lib.training.state import State
from lib.training.stopping import StopRequest

_SHOWN = 9  # training pictures in the plot


@dataclasses.dataclass(frozen=True)
class Run:
    """What the phases of a run share.

    Attributes:
        folder: of the run.
        config: what the run is.
        dataset: its pictures.
        network: whose weights are trained.
        state: where training is.
        started: when the program was, by `time.monotonic`.
        restored: the checkpoint that weights and state came from; None for a new run.
        checkpoints: states to resume from, the newest ones.
        best: the state after the best epoch.
        heads: the state at the end of the head phase.
        reports: where people see how it goes.
        stop: whether the run was asked to end.
    """

    folder: Path
    config: Config
    dataset: Dataset
    network: Network
    state: State
    started: float
    restored: Path | None
    checkpoints: Checkpoints
    best: Checkpoints
    heads: Checkpoints
    reports: Reports
    stop: StopRequest

    @property
    def resumed_at(self) -> int:
        """The step at which this process took over."""
        return step_of(self.restored) if self.restored else 0

    @property
    def epoch_steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.dataset.train), self.config.batch_size)


def build_network(config: Config, classes: int) -> Network:
    """The network of a run, with its first weights.

    Raises:
        UserError: the configuration cannot be trained, or the weights cannot be had or do not fit.
    """
    network = build(classes, config.image_size, config.alpha, config.dropout, config.seed)
    resume.require_possible(config, network.backbone)  # before a download
    if not config.from_run:
        load_pretrained(network.backbone, config.weights, config.alpha, bar)
    return network


@contextlib.contextmanager
def open_run(
    folder: Path,
    config: Config,
    dataset: Dataset,
    before: run_folder.Saved | None,
    started: float,
    stop: StopRequest,
    network: Network | None = None,
) -> Iterator[Run]:
    """Opens a run where it stands, or a new one.

    Args:
        folder: of the run, held by this process.
        config: what the run is.
        dataset: its pictures.
        before: what the run was at its last start; None for a new one.
        started: when the program was, by `time.monotonic`.
        stop: whether the run was asked to end; from here on to be heeded.
        network: what `build_network` made, where that was done already.

    Raises:
        UserError: the configuration cannot be trained, or is not that of the run.
    """
    network = network or build_network(config, len(dataset.classes))
    facts = {
        "classes": list(dataset.classes),
        "pictures": {
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
        },
        "data_sha256": dataset.sha256,
        "initial_weights_sha256": weights_sha256(network.backbone.variables),
    }
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
    heads = Checkpoints(folder / "head", keep=1)
    state = State()
    # The other run's head comes first: a checkpoint of this run's own takes its place.
    facts |= resume.other_head(network, config, facts["classes"], before)
    restored = None
    if before:
        run_folder.require_same(folder, before.facts, facts)
        restored = resume.restore(network, state, checkpoints, heads, before.made_by)
        resume.require_continuable(folder, config, before.flags, state)
    remove_leftovers(folder, of_others=("evaluation", "explanations", "export"))
    run_folder.list_pictures(folder, dataset)
    run_folder.save(folder, config, facts)
    reports = Reports(folder, int(state.step) if restored else -1, state.journal.history)
    if restored:
        say(f"Resuming at step {int(state.step)}")
    with contextlib.closing(reports):
        reports.configuration(config.to_json(), facts)
        _show_training_pictures(dataset, config, reports)
        stop.defer()
        yield Run(
            folder=folder,
            config=config,
            dataset=dataset,
            network=network,
            state=state,
            started=started,
            restored=restored,
            checkpoints=checkpoints,
            best=Checkpoints(folder / "best", keep=1),
            heads=heads,
            reports=reports,
            stop=stop,
        )


def _show_training_pictures(dataset: Dataset, config: Config, reports: Reports) -> None:
    """Draws, once a run, what is trained on: the first pictures, and one as training sees it."""
    if all(reports.has_pictures(name, step=0) for name in ("training_samples", "augmentation")):
        return
    shown = np.arange(min(_SHOWN, len(dataset.train)))
    pictures = dataset.train.pixels(shown)
    names = [dataset.classes[label] for label in dataset.train.labels[shown]]
    reports.pictures("training_samples", plots.training_samples(pictures, names), step=0)
    # As many as a batch has: augmentation is compiled for each shape that it meets.
    copies = np.repeat(pictures[:1], max(9, config.batch_size), axis=0)
    varied = augment(copies, config.seed, 0, config.rotation)[:9]
    nine = np.clip(np.rint(varied), 0, 255).astype(np.uint8)
    reports.pictures("augmentation", plots.augmentation(pictures[0], nine), step=0)
