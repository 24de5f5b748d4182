"""The loop: a phase of training, epoch by epoch, step by step."""

from time import monotonic

import tensorflow as tf

from lib.config import Phase
from lib.errors import Stopped, UserError
from lib.model.engine import cut
from lib.model.freezing import freeze, layer_index, layer_table
from lib.reporting.history import Epoch
from lib.reporting.progress import bar, say
from lib.training.evaluation import evaluate
from lib.training.feed import EvaluationFeed, TrainingFeed
from lib.training.optimizers import build_optimizer, learning_rate
from lib.training.run import Run
from lib.training.steps import make_evaluation_step, make_train_step

_LOOK_EVERY = 10  # steps between two looks at what the device has accumulated


def train_phase(run: Run, phase: Phase) -> None:
    """Trains a phase to its end, from wherever the run stands; does nothing where it is done.

    Args:
        run: the run.
        phase: what to train, and how.

    Raises:
        Stopped: a signal came, and a checkpoint was written.
        UserError: the loss is no longer finite, or a checkpoint cannot be written.
    """
    journal = run.state.journal
    if journal.epochs_of(phase.name) == phase.epochs and journal.history:
        say(f"Phase {phase.name}: all of its {phase.epochs} epochs are trained already")
        return
    _PhaseLoop(run, phase).train()


class _PhaseLoop:
    """A phase of a run, built from the run's state."""

    def __init__(self, run: Run, phase: Phase):
        config, network = run.config, run.network
        self._run = run
        self._phase = phase
        epochs_before = 0 if phase.name == "head" else config.head_epochs
        self._last_epoch = epochs_before + phase.epochs
        self._first_step = epochs_before * run.epoch_steps
        self._rate = learning_rate(phase, phase.epochs * run.epoch_steps)

        at = phase.trained_from
        trained_from = None if at is None else layer_index(network.backbone, at)
        variables = freeze(network, trained_from)
        engine = cut(network, trained_from, config.engine, config.batch_size, config.threads)
        optimizer = build_optimizer(phase, self._rate)
        self._train_step = make_train_step(
            engine, network.head, variables, optimizer, run.state, config.dropout, config.seed
        )
        self._evaluation_step = make_evaluation_step(engine, network.head)
        self._training = TrainingFeed(
            run.dataset.train, engine, config.batch_size, config.seed, config.rotation
        )
        self._validation = EvaluationFeed(
            run.dataset.validation, engine, config.batch_size, config.memory_mb
        )
        self._checkpoint = tf.train.Checkpoint(
            model=network.model, optimizer=optimizer, state=run.state
        )
        self._optimizer = tf.train.Checkpoint(optimizer=optimizer)

    def train(self) -> None:
        """Trains to the end of the phase."""
        state = self._run.state
        if state.phase == self._phase.name:
            # The checkpoint was written in this phase, so it holds this phase's optimizer.
            status = self._optimizer.restore(str(self._run.restored)).expect_partial()
            status.assert_existing_objects_matched()
        else:
            state.phase.assign(self._phase.name)
        self._mark = monotonic()
        self._run.reports.layers(self._phase.name, layer_table(self._run.network), self._first_step)
        try:
            if not state.journal.history:
                self._evaluate_untrained()
            for epoch in range(state.journal.epochs + 1, self._last_epoch + 1):
                self._train_epoch(epoch)
                self._finish_epoch(epoch)
        except Stopped:
            self._save()
            raise

    def _evaluate_untrained(self) -> None:
        validation = evaluate(self._validation, self._evaluation_step, self._run.stop)
        self._spend(training=False)
        self._write_down(Epoch.untrained(validation.loss, validation.accuracy))

    def _train_epoch(self, epoch: int) -> None:
        """Takes the steps of an epoch that have not been taken yet."""
        run, state = self._run, self._run.state
        taken, end = int(state.step), epoch * run.epoch_steps
        title = f"{self._phase.name} {epoch}/{self._last_epoch}"
        with bar(title, len(run.dataset.train), "pictures") as advance:
            advance(int(state.count))
            for step, batch in enumerate(self._training.batches(taken, end), start=taken + 1):
                self._train_step(*batch)
                if step == run.resumed_at + 1:
                    self._note_start()
                advance(len(batch.labels))
                if step % _LOOK_EVERY == 0:
                    self._require_finite()
                    advance(0, f"loss {float(state.loss_sum) / float(state.count):.4f}")
                run.stop.heed()
                if step % run.config.checkpoint_every == 0 and step < end:
                    self._save()
        self._require_finite()
        self._spend(training=True)

    def _finish_epoch(self, epoch: int) -> None:
        """Evaluates, and writes down how the epoch went."""
        run, state = self._run, self._run.state
        validation = evaluate(self._validation, self._evaluation_step, run.stop)
        evaluation_seconds = self._spend(training=False)
        examples = int(state.count)
        loss, accuracy = state.take_metrics()
        training_seconds = state.journal.epoch_seconds
        self._write_down(
            Epoch(
                epoch=epoch,
                phase=self._phase.name,
                step=int(state.step),
                learning_rate=self._rate_of_last_step(),
                train_loss=loss,
                train_accuracy=accuracy,
                validation_loss=validation.loss,
                validation_accuracy=validation.accuracy,
                images_per_second=examples / training_seconds,
                seconds=training_seconds + evaluation_seconds,
            )
        )

    def _write_down(self, row: Epoch) -> None:
        """Adds an epoch to the history; the checkpoint that holds it comes last of all."""
        run, state = self._run, self._run.state
        journal = state.journal
        journal.history.append(row)
        journal.epoch_seconds = 0.0
        state.journal = journal
        run.reports.epoch(journal.history, self._last_epoch)
        if journal.best == row:
            run.best.save(run.weights(), row.step)
        if self._phase.name == "head" and row.epoch == self._last_epoch:
            run.heads.save(self._checkpoint, row.step)
        self._save()

    def _save(self) -> None:
        """Writes a checkpoint of this very moment."""
        state = self._run.state
        if not state.journal.history:
            return  # Nothing has been done yet that could be lost.
        self._require_finite()
        self._spend(training=int(state.count) > 0)
        self._run.checkpoints.save(self._checkpoint, int(state.step))

    def _require_finite(self) -> None:
        failed = int(self._run.state.failed_step)
        if failed >= 0:
            raise UserError(
                f"the loss or its gradient became infinite or not a number at step {failed} (phase"
                f" {self._phase.name}, learning rate {self._phase.learning_rate:g}); no weight was"
                f" touched by it, and the checkpoint before it stays; lower the rate in another"
                f" --workdir"
            )

    def _rate_of_last_step(self) -> float:
        step = int(self._run.state.step) - 1 - self._first_step
        return float(self._rate(step) if callable(self._rate) else self._rate)

    def _note_start(self) -> None:
        journal = self._run.state.journal
        journal.start_seconds = monotonic() - self._run.started
        self._run.state.journal = journal

    def _spend(self, training: bool) -> float:
        """Books the seconds since the last call on the phase, and returns them."""
        now = monotonic()
        seconds, self._mark = now - self._mark, now
        journal = self._run.state.journal
        journal.spend(self._phase.name, seconds, training)
        self._run.state.journal = journal
        return seconds
