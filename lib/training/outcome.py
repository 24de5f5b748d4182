"""What a run comes to: its best checkpoint, on pictures that no choice was made by."""

import resource
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import tensorflow as tf

from lib.config import Config
from lib.data.dataset import Subset
from lib.errors import UserError
from lib.model.engine import cut
from lib.model.network import Network, weights_sha256
from lib.reporting import plots
from lib.reporting.history import Epoch
from lib.reporting.progress import say
from lib.reporting.result import read_json, wilson_interval, write_json, write_predictions
from lib.training.checkpoints import Checkpoints, step_of
from lib.training.evaluation import Evaluation, evaluate
from lib.training.feed import EvaluationFeed
from lib.training.run import Run, build_network
from lib.training.steps import make_evaluation_step
from lib.training.stopping import StopRequest

_SHOWN = 16  # pictures in the grid of predictions


def finish(run: Run) -> None:
    """Measures the best checkpoint of a run on the test set, and writes down what the run came to.

    Does nothing where that has been done for the step at which the run stands.

    Raises:
        Stopped: a signal came.
    """
    path = run.folder / "result.json"
    if run.state.journal.best is None:
        say("Nothing was trained, so there is nothing to measure")
        return
    sha256 = weights_sha256(run.network.model.variables)
    if read_json(path).get("weights_sha256") == sha256:
        say(f"Nothing to do: the result is in {path}")
        return
    began = monotonic()
    journal = run.state.journal
    best_step = load_best(run.network, run.best, run.folder)
    test = evaluate_network(run.network, run.dataset.test, run.config, run.stop)
    _show_predictions(run, test)
    run.reports.test(best_step, test.loss, test.accuracy)
    last, validated = journal.history[-1], len(run.dataset.validation)
    write_json(
        path,
        {
            "phase": run.state.phase.numpy().decode(),
            "epoch": last.epoch,
            "step": last.step,
            "weights_sha256": sha256,
            "train": {"loss": last.train_loss, "accuracy": last.train_accuracy},
            "validation": _validation(last, validated),
            "best": {
                "epoch": journal.best.epoch,
                "step": best_step,
                "validation": _validation(journal.best, validated),
            },
            "test": summary(test),
            **_timing(run, monotonic() - began),
        },
    )
    say(_sentence("Test set", test, best_step))


def evaluate_best(folder: Path, config: Config, subset: Subset, directory: str | None) -> None:
    """Measures the best checkpoint of a run on a set, prints it and writes `evaluation.json`.

    Args:
        folder: of the run.
        config: what the run is.
        subset: the pictures.
        directory: where they are from; None for the test set of the run.
    """
    network = build_network(config, len(subset.classes))
    step = load_best(network, Checkpoints(folder / "best", keep=1), folder)
    evaluation = evaluate_network(network, subset, config, StopRequest())
    write_json(
        folder / "evaluation.json",
        {"directory": directory, "step": step, **summary(evaluation)},
    )
    say(_sentence(directory or "Test set", evaluation, step))


def load_best(network: Network, best: Checkpoints, folder: Path) -> int:
    """Gives the network the weights of a run's best epoch.

    Returns:
        The step they are of.

    Raises:
        UserError: the run has none yet.
    """
    path = best.newest_good()
    if path is None:
        raise UserError(
            f"--workdir={folder} holds no finished epoch: train it first, with --phase=all or head"
        )
    checkpoint = tf.train.Checkpoint(model=network.model)
    checkpoint.restore(str(path)).expect_partial().assert_existing_objects_matched()
    return step_of(path)


def evaluate_network(
    network: Network, subset: Subset, config: Config, stop: StopRequest
) -> Evaluation:
    """Evaluates the network on a set with the weights that it has now."""
    engine = cut(network, None, config.engine, config.batch_size, config.threads)
    feed = EvaluationFeed(subset, engine, config.batch_size, memory_mb=0)
    return evaluate(feed, make_evaluation_step(engine, network.head), stop)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation, the accuracy with its 95 % confidence interval."""
    interval = wilson_interval(evaluation.correct, evaluation.count)
    return {
        "loss": evaluation.loss,
        "accuracy": evaluation.accuracy,
        "accuracy_interval": list(interval),
        "count": evaluation.count,
    }


def _validation(row: Epoch, count: int) -> dict[str, Any]:
    correct = round(row.validation_accuracy * count)
    return {
        "loss": row.validation_loss,
        "accuracy": row.validation_accuracy,
        "accuracy_interval": list(wilson_interval(correct, count)),
        "count": count,
    }


def _timing(run: Run, evaluation_seconds: float) -> dict[str, Any]:
    """Seconds, speed and memory; a phase's seconds are summed over restarts."""
    journal = run.state.journal
    seconds = {"start": journal.start_seconds, **journal.seconds, "test": evaluation_seconds}
    trained = {
        phase: journal.epochs_of(phase) * len(run.dataset.train)
        for phase in journal.training_seconds
    }
    return {
        "seconds": {**seconds, "total": sum(seconds.values())},
        "images_per_second": {
            phase: count / journal.training_seconds[phase] for phase, count in trained.items()
        },
        "peak_memory_mb": peak_memory_mb(),
    }


def peak_memory_mb() -> float:
    """The largest resident set of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _show_predictions(run: Run, test: Evaluation) -> None:
    """Lists what the network says of each test picture, and draws the first ones."""
    classes, subset = run.dataset.classes, run.dataset.test
    true = [classes[label] for label in test.labels]
    predicted = [classes[label] for label in test.predicted]
    certainty = test.probabilities[np.arange(test.count), test.predicted]
    write_predictions(
        run.folder / "predictions.csv",
        zip(subset.names, true, predicted, certainty, strict=True),
    )
    pixels = subset.pixels(np.arange(min(_SHOWN, test.count)))
    grid = plots.predictions(pixels, true[:_SHOWN], predicted[:_SHOWN], certainty[:_SHOWN])
    step = int(run.state.step)
    run.reports.pictures("predictions", grid, step)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (test.labels, test.predicted), 1)
    run.reports.pictures("confusion", plots.confusion(counts, classes), step)


def _sentence(what: str, evaluation: Evaluation, step: int) -> str:
    low, high = wilson_interval(evaluation.correct, evaluation.count)
    return (
        f"{what}: accuracy {evaluation.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}),"
        f" loss {evaluation.loss:.4f}, on {evaluation.count} pictures (weights of step {step})"
    )
