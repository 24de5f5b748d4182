"""A run: what its phases share, opened where it stood."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.config import Config
from lib.data.augmentation import Augmentation, augmentation_of
from lib.data.dataset import Dataset
from lib.data.order import batch_positions, steps_per_epoch
from lib.distribution.workers import Workers
from lib.model import architecture
from lib.model.network import Network
from lib.reporting import plots
from lib.reporting.reports import Reports, Unreported
from lib.runs import folder as run_folder
from lib.runs import resume
from lib.runs.checkpoints import Checkpoints, step_of
from lib.runs.state import State
from lib.system.atomic import remove_leftovers
from lib.system.progress import say
from lib.training.feed import augmented
from lib.training.parts import Parts
from lib.training.slices import cut
from lib.training.stopping import StopRequest

_SHOWN = 9  # training images in the plot
_AUGMENTED = 12  # in that of augmented ones


@dataclasses.dataclass(frozen=True)
class Run:
    """What the phases of a run share.

    Attributes:
        folder: of the run.
        config: what the run is.
        dataset: its images.
        network: whose weights are trained.
        state: where training is.
        started: when the program was, by `time.monotonic`.
        restored: the checkpoint that weights and state came from; None for a new run.
        made_by: what the run was made by at its last start, see `lib.runs.folder.Saved`.
        checkpoints: states to resume from, the newest ones.
        best: the state after the best epoch, see `lib.runs.early_stopping`.
        reports: where people see how it goes.
        stop: whether the run was asked to end.
        workers: that train it.
    """

    folder: Path
    config: Config
    dataset: Dataset
    network: Network
    state: State
    started: float
    restored: Path | None
    made_by: Mapping[str, Any]
    checkpoints: Checkpoints
    best: Checkpoints
    reports: Reports | Unreported
    stop: StopRequest
    workers: Workers

    @functools.cached_property
    def augmentation(self) -> Augmentation:
        """How training images are varied; the same for all phases, as XLA compiles each anew."""
        return augmentation_of(self.config)

    @property
    def resumed_at(self) -> int:
        """The step at which this process took over."""
        return step_of(self.restored) if self.restored else 0

    def finished(self, phase: str) -> Checkpoints:
        """The state at the end of a phase."""
        return resume.finished_phase(self.folder, phase)

    def best_of(self, phase: str) -> Checkpoints:
        """The state after the best epoch of a phase that ends with it."""
        return resume.finished_phase(self.folder, f"{phase}.best")

    @property
    def epoch_steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.dataset.train), self.config.batch_size)


@contextlib.contextmanager
def open_run(folder: Path, parts: Parts, started: float, stop: StopRequest) -> Iterator[Run]:
    """Opens a run where it stands, or a new one.

    Args:
        folder: of the run, held by this process.
        parts: what it is made from.
        started: when the program was, by `time.monotonic`.
        stop: whether the run was asked to end; from here on signals are deferred.

    Raises:
        UserError: the configuration cannot be trained, or is not that of the run.
    """
    config, network, dataset, before = parts.config, parts.network, parts.dataset, parts.before
    workers = parts.workers
    facts = {
        "plugins": dict(parts.plugins),
        "classes": list(dataset.classes),
        "images": {
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
        },
        "data_sha256": dataset.sha256,
        "initial_weights_sha256": parts.initial_weights_sha256,
        "backbone_sha256": parts.backbone_sha256,
    }
    workers.require_same(facts)
    checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
    state, restored, reports = State(), None, Unreported()
    if workers.chief:
        # The other run's network comes first: a checkpoint of this run's own takes its place.
        facts |= resume.other_run(network, config, facts["classes"], before)
        if before:
            run_folder.require_same(folder, before.facts, facts)
            restored = resume.restore(network, state, folder, before)
        remove_leftovers(folder, of_others=("evaluation", "explanations", "export"))
        run_folder.list_images(folder, dataset)
        architecture.keep(folder, network.backbone, network.scaling)
        run_folder.save(folder, config, facts)
        reports = Reports(folder, int(state.step) if restored else -1, state.journal.history)
        if restored:
            say(f"Resuming at step {int(state.step)}")
    workers.assign_from_chief([*network.model.variables, *state.variables])
    with contextlib.closing(reports):
        reports.configuration(config.to_json(), facts)
        run = Run(
            folder=folder,
            config=config,
            dataset=dataset,
            network=network,
            state=state,
            started=started,
            restored=restored,
            made_by=before.made_by if before else {},
            checkpoints=checkpoints,
            best=Checkpoints(folder / "best", keep=1),
            reports=reports,
            stop=stop,
            workers=workers,
        )
        if workers.chief:
            _show_training_images(run)
        stop.defer()
        yield run


def _show_training_images(run: Run) -> None:
    """Draws, once per run, what is trained on: the first images, and those of the first step."""
    dataset, config, reports = run.dataset, run.config, run.reports
    if all(reports.has_images(name, step=0) for name in ("training_samples", "augmentation")):
        return
    shown = np.arange(min(_SHOWN, len(dataset.train)))
    samples = dataset.train.pixels(shown)
    names = [dataset.classes[label] for label in dataset.train.labels[shown]]
    reports.images("training_samples", plots.training_samples(samples, names), step=0)
    positions = batch_positions(0, len(dataset.train), config.batch_size, config.seed)
    slices = cut(config.batch_size, config.slices_in_use)
    parts = augmented(dataset.train, positions, slices, run.augmentation, step=0)
    images, targets = (np.concatenate(each)[:_AUGMENTED] for each in zip(*parts, strict=True))
    images = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    figure = plots.augmentation(images, targets, dataset.classes, run.augmentation.text)
    reports.images("augmentation", figure, step=0)
