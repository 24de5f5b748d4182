"""A phase made ready to be trained: what its loop needs, built from where the run stands."""

import dataclasses

import numpy as np

from lib.config import Phase
from lib.data.augment import Augmentation
from lib.model.engine import cut
from lib.model.freezing import block, first_trained, freeze
from lib.training.averages import Averages
from lib.training.checkpoints import TracedCheckpoint
from lib.training.clock import Clock
from lib.training.exact_sums import require_exact_sums
from lib.training.feed import EvaluationFeed, TrainingFeed
from lib.training.losses import class_weights, make_loss
from lib.training.optimizers import build_optimizer, layer_scales, make_schedule
from lib.training.run import Run
from lib.training.steps import (
    EvaluationStep,
    GradientStep,
    Learner,
    TrainStep,
    make_evaluation_step,
    make_gradient_step,
    make_train_step,
)
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
        train_step: takes a step.
        gradient_step: looks ahead at the gradients of a step.
        evaluation_step: features to logits.
        checkpoint: of all that the next step needs.
        clock: what time is spent on.
    """

    run: Run
    phase: Phase
    epochs_before: int
    first_step: int
    learner: Learner
    training: TrainingFeed | ViewFeed
    validation: EvaluationFeed
    train_step: TrainStep
    gradient_step: GradientStep
    evaluation_step: EvaluationStep
    checkpoint: TracedCheckpoint
    clock: Clock

    @property
    def last_epoch(self) -> int:
        """The number of the epoch with which the phase ends at the latest."""
        return self.epochs_before + self.phase.epochs


def build_phase(run: Run, phase: Phase) -> BuiltPhase:
    """Builds a phase of a run.

    Raises:
        UserError: the configuration cannot be trained.
    """
    config, network, dataset, state = run.config, run.network, run.dataset, run.state
    clock = Clock(state, phase.name)  # building the phase is a part of what it costs
    epochs_before, first_step = state.journal.began(phase.name)

    trained_from = first_trained(network.backbone, phase)
    variables = freeze(network, trained_from)
    engine = cut(network, trained_from, config.engine, config.threads)
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    steps = phase.epochs * run.epoch_steps
    learner = Learner(
        network=network,
        engine=engine,
        variables=variables,
        optimizer=build_optimizer(
            phase.optimizer, make_schedule(phase.schedule, steps, phase.learning_rate)
        ),
        scales=layer_scales([_block(network, each) for each in variables], phase.layer_decay),
        averages=Averages(variables, config.ema) if config.ema else None,
        loss=make_loss(config.loss, class_weights(config.class_weights, dataset.classes, counts)),
        dropout=config.dropout,
        seed=config.seed,
        log_every=config.log_every,
        patience=MOST_SKIPPED if config.skip_nonfinite else 1,
    )
    train_step = make_train_step(learner, state)
    require_exact_sums(train_step.get_concrete_function())

    training = TrainingFeed(
        dataset.train, engine, config.batch_size, Augmentation(config.augment, config.seed)
    )
    if phase.views:
        training = ViewFeed(training, phase, first_step, config.memory_mb, run.stop.heed)
    kept = {"averages": learner.averages} if learner.averages else {}
    return BuiltPhase(
        run=run,
        phase=phase,
        epochs_before=epochs_before,
        first_step=first_step,
        learner=learner,
        training=training,
        validation=EvaluationFeed(dataset.validation, engine, config.batch_size, config.memory_mb),
        train_step=train_step,
        gradient_step=make_gradient_step(learner),
        evaluation_step=make_evaluation_step(engine, network),
        checkpoint=TracedCheckpoint(
            model=network.model, optimizer=learner.optimizer, state=state, **kept
        ),
        clock=clock,
    )
