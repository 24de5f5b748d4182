"""A phase made ready to be trained: what its loop needs, built from where the run stands."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lib.config import Config, Phase
from lib.data.augmentation import Augmentation, augmentation_of
from lib.data.dataset import Dataset, Subset
from lib.distribution.workers import SINGLE, Workers
from lib.model.engine import cut
from lib.model.freezing import first_trained, freeze, variable_blocks
from lib.model.network import Network, weights_sha256
from lib.runs.checkpoints import CachedCheckpoint, Checkpoints, load_checkpoint
from lib.runs.folder import of_another_version
from lib.training import slices
from lib.training.averages import Averages
from lib.training.clock import Clock
from lib.training.exchange import Gather, make_gather
from lib.training.feed import EvaluationFeed, TrainingFeed
from lib.training.learner import Learner
from lib.training.losses import class_weights, make_loss
from lib.training.optimizers import Rate, build_optimizer, layer_scales, make_schedule
from lib.training.run import Run
from lib.training.shared_features import NOTHING_SHARED, shared_features
from lib.training.slice_step import SliceStep, make_slice_step, trace_slice
from lib.training.steps import EvaluationStep, UpdateStep, make_evaluation_step, make_update_step
from lib.training.views import ViewFeed

MOST_SKIPPED = 10  # updates left out in a row that end a run which may leave them out


@dataclasses.dataclass(frozen=True)
class BuiltPhase:
    """A phase of a run, ready to be trained.

    Attributes:
        run: the run.
        phase: what to train, and how.
        epochs_before: epochs that were trained before it.
        first_step: steps that were taken before it.
        learner: its network, variables and optimizer.
        training: batches by step number.
        validation: the batches of the validation set.
        graph: what computes a slice.
        slice_step: computes this worker's slices of a batch.
        gather: puts together what the slices of all workers have come to.
        update_step: takes the step that this makes.
        evaluation_step: features to logits.
        parts: what a checkpoint holds, by name: all that the next step needs.
        checkpoint: writes them.
        clock: what time is spent on.
    """

    run: Run
    phase: Phase
    epochs_before: int
    first_step: int
    learner: Learner
    training: TrainingFeed | ViewFeed
    validation: EvaluationFeed
    graph: tf.Graph
    slice_step: SliceStep
    gather: Gather
    update_step: UpdateStep
    evaluation_step: EvaluationStep
    parts: Mapping[str, Any]
    checkpoint: CachedCheckpoint
    clock: Clock

    @property
    def last_epoch(self) -> int:
        """The number of the epoch with which the phase ends at the latest."""
        return self.epochs_before + self.phase.epochs

    @property
    def rate_of_last_step(self) -> float:
        """The learning rate of the last update."""
        schedule, updates = self.learner.schedule, int(self.learner.optimizer.iterations)
        return float(schedule(max(0, updates - 1)) if callable(schedule) else schedule)

    def averaged(self) -> contextlib.AbstractContextManager:
        """Puts the averages of the weights in their place for a while, where there are any."""
        averages = self.learner.averages
        return averages.swapped_in() if averages else contextlib.nullcontext()

    def load(self, checkpoint: Path | None, *names: str) -> None:
        """Brings parts of the phase to what a checkpoint holds of them.

        Args:
            checkpoint: its path, without suffix; the chief's alone is read.
            *names: "model", "optimizer", "averages", "state"; averages where there are any.

        Raises:
            UserError: it holds others, as a version with other optimizers writes them.
        """
        kept = {name: self.parts[name] for name in names if name in self.parts}
        try:
            if self.run.workers.chief:
                load_checkpoint(checkpoint, **kept)
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            what = f"the checkpoint {checkpoint} has another {' or '.join(names)}"
            raise of_another_version(what, self.run.made_by) from error
        self.run.workers.assign_from_chief([v for part in kept.values() for v in part.variables])

    def require_same_weights(self) -> None:
        """Makes sure that all workers have the same weights, which none of them can see alone.

        Raises:
            UserError: they have not.
        """
        if self.run.workers.count > 1:
            trained = [*self.learner.variables, *self.learner.optimizer.variables]
            self.run.workers.require_same({"weights": weights_sha256(trained)})

    def require_same_gradient(self, step: int) -> None:
        """Makes sure, before a step, that all processors compute its first slice alike.

        Raises:
            UserError: they do not.
        """
        if self.run.workers.count > 1:
            first = dataclasses.replace(self.learner.slices, mine=range(1))
            learner = dataclasses.replace(self.learner, slices=first)
            batch = build_feed(self.run.config, self.run.dataset.train, learner).batch(step)
            gradients = make_slice_step(learner, trace_slice(learner))(batch, step).gradients
            digest = weights_sha256(tf.nest.flatten(gradients))
            found = {"a gradient, as its processor computes it": digest}
            self.run.workers.require_same(found)

    def save(self, checkpoints: Checkpoints) -> None:
        """Writes a checkpoint of this very moment, of which the others know when it is there.

        Raises:
            UserError: it cannot be written.
        """
        if self.run.workers.chief:
            checkpoints.save(self.checkpoint, int(self.run.state.step))


def build_learner(
    config: Config,
    phase: Phase,
    network: Network,
    schedule: Rate,
    weights: Sequence[float] | None = None,
    workers: Workers = SINGLE,
) -> Learner:
    """What a phase trains, and by which rule; layers are frozen and thawed for it.

    Args:
        config: what the run is.
        phase: what to train, and how.
        network: with the weights that its frozen part is to have.
        schedule: of the learning rate.
        weights: of the classes, see `weights_of_classes`.
        workers: that train it.

    Raises:
        UserError: the configuration cannot be trained.
    """
    trained_from = first_trained(network.backbone, phase)
    variables = freeze(network, trained_from)
    return Learner(
        network=network,
        engine=cut(network, trained_from, config.engine, config.threads),
        variables=variables,
        optimizer=build_optimizer(phase.optimizer, schedule),
        schedule=schedule,
        scales=layer_scales(variable_blocks(network, variables), phase.layer_decay),
        averages=Averages(variables, config.ema) if config.ema else None,
        loss=make_loss(config.loss, weights),
        dropout=config.dropout,
        seed=config.seed,
        patience=MOST_SKIPPED if config.skip_nonfinite else 1,
        slices=slices.cut(config.batch_size, config.slices_in_use, workers.index, workers.count),
    )


def weights_of_classes(config: Config, dataset: Dataset) -> tuple[float, ...] | None:
    """How much the images of each class count in the loss; None where all count alike.

    Raises:
        UserError: `class_weights` does not fit the classes.
    """
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    return class_weights(config.class_weights, dataset.classes, counts.tolist())


def build_feed(
    config: Config, subset: Subset, learner: Learner, augmentation: Augmentation | None = None
) -> TrainingFeed:
    """The batches of a split for training, augmented, at the cut of the network."""
    augmentation = augmentation or augmentation_of(config)
    return TrainingFeed(
        subset,
        learner.engine,
        config.batch_size,
        config.seed,
        augmentation,
        learner.slices,
    )


def build_phase(run: Run, phase: Phase) -> BuiltPhase:
    """Builds a phase of a run.

    Raises:
        UserError: the configuration cannot be trained.
    """
    config, network, dataset, state = run.config, run.network, run.dataset, run.state
    clock = Clock(state, phase.name)  # building the phase is a part of what it costs
    epochs_before, first_step = state.journal.began(phase.name)
    schedule = make_schedule(phase.schedule, phase.epochs * run.epoch_steps, phase.learning_rate)
    weights = weights_of_classes(config, dataset)
    learner = build_learner(config, phase, network, schedule, weights, run.workers)
    shared = NOTHING_SHARED
    if run.workers.count == 1:
        trained_from = first_trained(network.backbone, phase)
        shared = shared_features(run.folder, config, learner, trained_from)
    validation = EvaluationFeed(
        dataset.validation, learner.engine, config.batch_size, config.memory_mb, run.workers, shared
    )
    validation.begin()  # tracing the steps leaves processors idle
    of_slice = trace_slice(learner)
    update_step = make_update_step(learner, state, of_slice)
    training = build_feed(config, dataset.train, learner, run.augmentation)
    if phase.views:
        training = ViewFeed(
            training,
            phase,
            first_step,
            config.memory_mb,
            run.stop.raise_if_requested,
            run.workers,
            shared,
        )
    parts = {"model": network.model, "optimizer": learner.optimizer, "state": state}
    if learner.averages:
        parts["averages"] = learner.averages
    return BuiltPhase(
        run=run,
        phase=phase,
        epochs_before=epochs_before,
        first_step=first_step,
        learner=learner,
        training=training,
        validation=validation,
        graph=of_slice.graph,
        slice_step=make_slice_step(learner, of_slice),
        gather=make_gather(learner, of_slice, run.workers, config.exchange),
        update_step=update_step,
        evaluation_step=make_evaluation_step(learner.engine, network),
        parts=parts,
        checkpoint=CachedCheckpoint(**parts),
        clock=clock,
    )
