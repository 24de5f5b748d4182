"""The loop: a phase of training, epoch by epoch, step by step."""

from lib.config import Phase
from lib.errors import Stopped
from lib.model.freezing import layer_table
from lib.runs.early_stopping import best_epoch, epochs_of, is_finished
from lib.runs.history import Epoch
from lib.system import fault_points
from lib.system.progress import bar, say
from lib.system.runtime import release_memory
from lib.training.build import BuiltPhase, build_phase
from lib.training.evaluation import Evaluation, Evaluator, evaluate
from lib.training.run import Run
from lib.training.soundness import require_finite, require_sound
from lib.training.steps import outcome_of

_LOOK_EVERY = 10  # steps between two looks at what the device has accumulated


def train_phase(run: Run, phase: Phase) -> Evaluator | None:
    """Trains a phase to its end, from wherever the run stands; does nothing where it is done.

    Args:
        run: the run.
        phase: what to train, and how.

    Returns:
        What has evaluated it; None where it was done before.

    Raises:
        Stopped: a signal came, and a checkpoint was written.
        UserError: numbers are no longer finite, or a checkpoint cannot be written.
    """
    history = run.state.journal.history
    if history and is_finished(phase, history):
        done = len(epochs_of(phase, history))
        say(f"Phase {phase.name}: finished already, after {done} of {phase.epochs} epochs")
        return None
    built = build_phase(run, phase)
    _begin(built)
    try:
        if not history:
            _evaluate_untrained(built)
        while not is_finished(phase, run.state.journal.history):
            _train_epoch(built)
            _finish_epoch(built)
    except Stopped:
        _save(built)
        raise
    return Evaluator(phase.name, built.learner.engine, built.evaluation_step)


def _begin(built: BuiltPhase) -> None:
    """Brings the optimizer to where the run stands, and shows what will be trained."""
    run, name = built.run, built.phase.name
    fault_points.point(f"phase:{name}")
    if run.state.phase_name == name:
        # The checkpoint was written in this phase, so it holds this phase's optimizer.
        built.load(run.restored, "optimizer", "averages")
    else:
        run.state.phase.assign(name)
    run.reports.layers(name, layer_table(run.network), built.first_step)
    run.reports.graph(name, built.graph, built.first_step)
    _prepare(built)
    run.workers.wait()
    # Preparing is no epoch's time, or the next ones would be expected to take as long.
    built.clock.book(training=False)


def _prepare(built: BuiltPhase) -> None:
    """Does what the first epoch would need longer for than the next: changes no state.

    TensorFlow compiles a graph when it is run first, and features of validation are kept.
    """
    state = built.run.state
    step = int(state.step)
    built.require_same_gradient(step)
    (batch,) = built.training.batches(step, step + 1)
    built.evaluation_step(batch.features)
    state.failed_step.assign(step)  # so that the step computes all and changes nothing
    computed = built.gather(built.slice_step(batch, step), batch.images)
    built.update_step(computed, step)
    state.failed_step.assign(-1)
    if state.journal.history:  # Else there is an evaluation before the first epoch.
        built.validation.prepare(built.run.stop.raise_if_requested)


def _evaluate_untrained(built: BuiltPhase) -> None:
    run = built.run
    validation = evaluate(built.validation, built.evaluation_step, run.stop, run.workers)
    built.clock.book(training=False)
    _show(built, validation)
    _write_down(built, Epoch.untrained(validation.loss, validation.accuracy))
    built.clock.book(training=False)  # The first checkpoint is compiled, too.


def _train_epoch(built: BuiltPhase) -> None:
    """Takes the steps of an epoch that have not been taken yet."""
    run, state = built.run, built.run.state
    epoch = state.journal.epochs + 1
    taken, end = int(state.step), epoch * run.epoch_steps
    title, note = f"{built.phase.name} {epoch}/{built.last_epoch}", ""
    with run.workers.in_step(), bar(title, len(run.dataset.train), "images") as advance:
        advance(int(state.count))
        for batch in built.training.batches(taken, end):
            fault_points.point("step")
            mine = built.slice_step(batch, taken)
            computed = built.gather(mine, batch.images)
            measurements = built.update_step(computed, taken)
            taken += 1
            if taken == run.resumed_at + 1:
                built.clock.note_start(run.started)
            if taken % run.config.log_every == 0:
                run.reports.step(taken, measurements)
            if taken % _LOOK_EVERY == 0:
                require_finite(built)
                note = f"loss {state.metrics()[0]:.4f}"
            advance(batch.images, note)
            run.stop.raise_if_requested()
            if taken % run.config.checkpoint_every == 0 and taken < end:
                _save(built)
    require_finite(built)
    built.clock.book(training=True)


def _finish_epoch(built: BuiltPhase) -> None:
    """Evaluates, and writes down how the epoch went."""
    run, state = built.run, built.run.state
    try:
        with built.averaged():
            validation = evaluate(built.validation, built.evaluation_step, run.stop, run.workers)
    finally:  # stopped in between, it is still no training
        evaluation_seconds = built.clock.book(training=False)
    require_sound(built, validation)
    _show(built, validation)
    examples = int(state.count)
    loss, accuracy = state.take_metrics()
    training_seconds = state.journal.epoch_seconds
    _write_down(
        built,
        Epoch(
            epoch=state.journal.epochs + 1,
            phase=built.phase.name,
            step=int(state.step),
            learning_rate=built.rate_of_last_step,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            images_per_second=examples / training_seconds,
            seconds=training_seconds + evaluation_seconds,
        ),
    )
    release_memory()  # Plots and checkpoints leave gaps in the heap, more with each epoch.


def _show(built: BuiltPhase, validation: Evaluation) -> None:
    """Shows what the network has learned by now: functions of the state alone."""
    run, step = built.run, int(built.run.state.step)
    run.reports.validated(validation.of(run.dataset.validation), step)
    if run.config.histograms:
        (batch,) = built.training.batches(step, step + 1)
        variables = built.learner.variables
        shown = {f"weights/{each.path}": each.numpy() for each in variables}
        computed = built.gather(built.slice_step(batch, step), batch.images)
        gradients = outcome_of(built.learner, computed).gradients
        for variable, gradient in zip(variables, gradients, strict=True):
            shown[f"gradients/{variable.path}"] = gradient.numpy()
        run.reports.histograms(shown, step)


def _write_down(built: BuiltPhase, row: Epoch) -> None:
    """Adds an epoch to the history; the checkpoint that holds it comes last of all."""
    run, state, phase = built.run, built.run.state, built.phase
    journal = state.journal
    journal.history.append(row)
    journal.epoch_seconds = 0.0
    state.journal = journal
    run.reports.epoch(journal.history, built.last_epoch, int(state.skipped))
    if journal.best is row:
        built.save(run.best)
    best = best_epoch(epochs_of(phase, journal.history))
    if phase.restore_best and best is row:
        built.save(run.best_of(phase.name))
    if is_finished(phase, journal.history):
        if phase.restore_best and best not in (row, None):
            path = run.best_of(phase.name).of_step(best.step) if run.workers.chief else None
            built.load(path, "model", "averages")
        built.save(run.finished(phase.name))
    _save(built)


def _save(built: BuiltPhase) -> None:
    """Writes a checkpoint of this very moment."""
    run, state = built.run, built.run.state
    if not state.journal.history:
        return  # Nothing has been done yet that could be lost.
    require_sound(built)
    built.require_same_weights()
    built.clock.book(training=int(state.count) > 0)
    run.reports.flush()  # No point of a curve is made again that a checkpoint says is done.
    built.save(run.checkpoints)
    run.workers.wait()
