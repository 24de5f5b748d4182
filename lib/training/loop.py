"""The loop: a phase of training, epoch by epoch, step by step."""

import math
from time import monotonic
from typing import NoReturn

import numpy as np

from lib import faults
from lib.config import Phase
from lib.errors import Stopped, UserError
from lib.model.engine import cut
from lib.model.freezing import freeze, layer_index, layer_table
from lib.reporting.history import Epoch
from lib.reporting.progress import bar, say
from lib.runtime import release_memory
from lib.training.checkpoints import TracedCheckpoint, load_checkpoint
from lib.training.evaluation import Evaluation, evaluate
from lib.training.feed import EvaluationFeed, TrainingFeed
from lib.training.optimizers import build_optimizer, learning_rate
from lib.training.run import Run
from lib.training.steps import make_evaluation_step, make_gradient_step, make_train_step
from lib.training.views import ViewFeed

_LOOK_EVERY = 10  # steps between two looks at what the device has accumulated
_MOST_SKIPPED = 10  # updates left out in a row that end a run which may leave them out


def train_phase(run: Run, phase: Phase) -> None:
    """Trains a phase to its end, from wherever the run stands; does nothing where it is done.

    Args:
        run: the run.
        phase: what to train, and how.

    Raises:
        Stopped: a signal came, and a checkpoint was written.
        UserError: numbers are no longer finite, or a checkpoint cannot be written.
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
        self._began = self._mark = monotonic()  # Building the phase is a part of what it costs.
        self._run = run
        self._phase = phase
        epochs_before = 0 if phase.name == "head" else config.head_epochs
        self._last_epoch = epochs_before + phase.epochs
        self._first_step = epochs_before * run.epoch_steps
        self._rate = learning_rate(phase, phase.epochs * run.epoch_steps)

        trained_from = layer_index(network.backbone, phase.trained_from)
        variables = self._variables = freeze(network, trained_from)
        engine = cut(network, trained_from, config.engine, config.threads)
        optimizer = self._optimizer = build_optimizer(phase, self._rate)
        self._train_step = make_train_step(
            engine,
            network.head,
            variables,
            optimizer,
            run.state,
            config.dropout,
            config.seed,
            patience=_MOST_SKIPPED if config.skip_nonfinite else 1,
        )
        self._gradient_step = make_gradient_step(
            engine, network.head, variables, run.state, config.dropout, config.seed
        )
        self._evaluation_step = make_evaluation_step(engine, network.head)
        self._training = TrainingFeed(
            run.dataset.train, engine, config.batch_size, config.seed, config.rotation
        )
        if phase.views:
            self._training = ViewFeed(
                self._training,
                phase.views,
                engine.signature.shape[1],
                config.memory_mb,
                run.stop.heed,
            )
        self._validation = EvaluationFeed(
            run.dataset.validation, engine, config.batch_size, config.memory_mb
        )
        self._checkpoint = TracedCheckpoint(
            model=network.model, optimizer=optimizer, state=run.state
        )

    def train(self) -> None:
        """Trains to the end of the phase."""
        state = self._run.state
        faults.point(f"phase:{self._phase.name}")
        if state.phase == self._phase.name:
            # The checkpoint was written in this phase, so it holds this phase's optimizer.
            load_checkpoint(self._run.restored, optimizer=self._optimizer)
        else:
            state.phase.assign(self._phase.name)
        self._run.reports.layers(self._phase.name, layer_table(self._run.network), self._first_step)
        graph = self._train_step.get_concrete_function().graph
        self._run.reports.graph(self._phase.name, graph, self._first_step)
        self._prepare()
        # Preparing is no epoch's time, or the next ones would be expected to take as long.
        self._spend(training=False)
        try:
            if not state.journal.history:
                self._evaluate_untrained()
            for epoch in range(state.journal.epochs + 1, self._last_epoch + 1):
                self._train_epoch(epoch)
                self._finish_epoch(epoch)
        except Stopped:
            self._save()
            raise

    def _prepare(self) -> None:
        """Does what the first epoch would need longer for than the next: changes no state.

        TensorFlow compiles a graph when it is run first, and features of validation are kept.
        """
        state = self._run.state
        (batch,) = self._training.batches(int(state.step), int(state.step) + 1)
        self._evaluation_step(batch.features)
        state.failed_step.assign(state.step)  # so that the step computes all and changes nothing
        self._train_step(*batch)
        state.failed_step.assign(-1)
        if state.journal.history:  # Else there is an evaluation before the first epoch.
            self._validation.prepare(self._run.stop.heed)

    def _evaluate_untrained(self) -> None:
        validation = evaluate(self._validation, self._evaluation_step, self._run.stop)
        self._spend(training=False)
        self._show(validation)
        self._write_down(Epoch.untrained(validation.loss, validation.accuracy))
        self._spend(training=False)  # The first checkpoint is compiled, too.

    def _train_epoch(self, epoch: int) -> None:
        """Takes the steps of an epoch that have not been taken yet."""
        run, state = self._run, self._run.state
        taken, end = int(state.step), epoch * run.epoch_steps
        title = f"{self._phase.name} {epoch}/{self._last_epoch}"
        with bar(title, len(run.dataset.train), "pictures") as advance:
            advance(int(state.count))
            note = ""
            for step, batch in enumerate(self._training.batches(taken, end), start=taken + 1):
                faults.point("step")
                self._train_step(*batch)
                if step == run.resumed_at + 1:
                    self._note_start()
                if step % _LOOK_EVERY == 0:
                    self._require_finite()
                    note = f"loss {state.metrics()[0]:.4f}"
                advance(len(batch.labels), note)
                run.stop.heed()
                if step % run.config.checkpoint_every == 0 and step < end:
                    self._save()
        self._require_finite()
        self._spend(training=True)

    def _finish_epoch(self, epoch: int) -> None:
        """Evaluates, and writes down how the epoch went."""
        run, state = self._run, self._run.state
        try:
            validation = evaluate(self._validation, self._evaluation_step, run.stop)
        finally:  # stopped in between, it is still no training
            evaluation_seconds = self._spend(training=False)
        self._require_sound(validation)
        self._show(validation)
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
        release_memory()  # Plots and checkpoints leave gaps in the heap, more with each epoch.

    def _show(self, validation: Evaluation) -> None:
        """Shows what the network has learned by now: functions of the state alone."""
        run, step = self._run, int(self._run.state.step)
        run.reports.validated(validation.of(run.dataset.validation), step)
        if run.config.histograms:
            (batch,) = self._training.batches(step, step + 1)
            gradients = self._gradient_step(*batch)
            shown = {f"weights/{each.path}": each.numpy() for each in self._variables}
            for variable, gradient in zip(self._variables, gradients, strict=True):
                shown[f"gradients/{variable.path}"] = gradient.numpy()
            run.reports.histograms(shown, step)

    def _write_down(self, row: Epoch) -> None:
        """Adds an epoch to the history; the checkpoint that holds it comes last of all."""
        run, state = self._run, self._run.state
        journal = state.journal
        journal.history.append(row)
        journal.epoch_seconds = 0.0
        state.journal = journal
        run.reports.epoch(journal.history, self._last_epoch, int(state.skipped))
        if journal.best is row:
            run.best.save(self._checkpoint, row.step)
        if self._phase.name == "head" and row.epoch == self._last_epoch:
            run.heads.save(self._checkpoint, row.step)
        self._save()

    def _save(self) -> None:
        """Writes a checkpoint of this very moment."""
        state = self._run.state
        if not state.journal.history:
            return  # Nothing has been done yet that could be lost.
        self._require_sound()
        self._spend(training=int(state.count) > 0)
        self._run.checkpoints.save(self._checkpoint, int(state.step))

    def _require_finite(self) -> None:
        failed = int(self._run.state.failed_step)
        if failed >= 0:
            often = f" {_MOST_SKIPPED} times in a row, the last" if self._skipping else ""
            self._fail(f"the loss or its gradient became infinite or not a number{often}", failed)

    def _require_sound(self, validation: Evaluation | None = None) -> None:
        """Makes sure that what is about to be saved is worth it: a finite update can overflow."""
        self._require_finite()
        step = int(self._run.state.step)
        for variable in (*self._variables, *self._optimizer.variables):
            if not np.all(np.isfinite(variable.numpy())):
                self._fail(f"{variable.path} became infinite or not a number", step)
        if validation and not math.isfinite(validation.loss):
            self._fail("the validation loss became infinite or not a number", step)

    def _fail(self, what: str, step: int) -> NoReturn:
        skip = "" if self._skipping else ", or leave out such updates with --skip_nonfinite"
        raise UserError(
            f"{what} at step {step} (phase {self._phase.name}, learning rate"
            f" {self._phase.learning_rate:g}); nothing of it was saved, and the checkpoint before"
            f" it stays; lower the rate in another --workdir{skip}"
        )

    @property
    def _skipping(self) -> bool:
        return self._run.config.skip_nonfinite

    def _rate_of_last_step(self) -> float:
        step = max(0, int(self._optimizer.iterations) - 1)
        return float(self._rate(step) if callable(self._rate) else self._rate)

    def _note_start(self) -> None:
        journal = self._run.state.journal
        journal.start_seconds = monotonic() - self._run.started
        journal.opening_seconds = self._began - self._run.started
        self._run.state.journal = journal

    def _spend(self, training: bool) -> float:
        """Books the seconds since the last call on the phase, and returns them."""
        now = monotonic()
        seconds, self._mark = now - self._mark, now
        journal = self._run.state.journal
        journal.spend(self._phase.name, seconds, training)
        self._run.state.journal = journal
        return seconds
