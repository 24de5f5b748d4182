"""The result of a run: its best checkpoint, on images that no choice was made by."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from lib.config import Config, setting
from lib.data.dataset import Subset
from lib.distribution.workers import SINGLE, Workers
from lib.errors import reason
from lib.inference.baseline import Baseline
from lib.inference.calibration import (
    CALIBRATION,
    HIGHEST,
    LOWEST,
    calibrated,
    fit_temperature,
    temperature_of,
)
from lib.inference.trained import Trained, averaged, load_trained, open_trained
from lib.inference.views import viewed
from lib.model.freezing import Row, first_trained, freeze, layer_table
from lib.model.gradcam import GradCam, make_gradcam
from lib.model.network import Network, weights_sha256
from lib.reporting import diagnostics, plots
from lib.reporting.metrics import calibration, mcnemar, metrics, paired_interval
from lib.reporting.predictions import Predictions
from lib.reporting.report import REPORT, html
from lib.reporting.result import wilson_interval, write_predictions
from lib.runs import folder as run_folder
from lib.runs.early_stopping import epochs_of
from lib.runs.history import Epoch, read_history
from lib.system import fault_points
from lib.system.files import read_json, write_json, write_text
from lib.system.progress import say
from lib.system.runtime import peak_memory_mb, release_memory
from lib.training.evaluation import Evaluation, Evaluator, evaluate
from lib.training.feed import EvaluationFeed
from lib.training.run import Run
from lib.training.steps import make_evaluation_step
from lib.training.stopping import StopRequest


def finish(run: Run, evaluator: Evaluator | None = None) -> None:
    """Measures the best checkpoint of a run on the test set, and writes down the result.

    Does nothing where that has been done for these very weights.

    Args:
        run: the run.
        evaluator: of the phase that was trained last, where it was by this process.

    Raises:
        Stopped: a signal came.
        UserError: the best checkpoint is gone or damaged.
        OSError: the result or the report cannot be written.
    """
    path = run.folder / "result.json"
    if run.state.journal.best is None:
        say("Nothing was trained, so there is nothing to measure")
        return
    sha256 = weights_sha256(run.network.model.variables)
    known = read_json(path).get("weights_sha256", "") if run.workers.chief else ""
    if run.workers.from_chief(known.encode()).decode() == sha256:
        say(f"Nothing to do: the result is in {path}")
        return
    began = monotonic()
    journal = run.state.journal
    best_step = journal.best.step
    release_memory()  # of what trained the last phase
    if evaluator and evaluator.phase != journal.best.phase:
        evaluator = None
    best = _best(run)
    test = evaluate_trained(best, run.dataset.test, run.stop, run.workers, evaluator)
    run.stop.raise_if_requested()
    if not run.workers.chief:
        return
    fault_points.point("outcome")
    predictions = test.of(run.dataset.test)
    explain = make_gradcam(run.network)
    figures = summary(test, predictions.classes)
    write_predictions(
        run.folder / "predictions.csv",
        zip(predictions.names, *predictions.words(predictions.first(test.count)), strict=True),
    )
    run.reports.test(predictions, figures, best_step)
    for name, figure in diagnostics.figures(predictions, explain):
        run.reports.images(name, figure, int(run.state.step), "test")
    last, validated = journal.history[-1], len(run.dataset.validation)
    result = {
        "phase": run.state.phase_name,
        "epoch": last.epoch,
        "step": last.step,
        "weights_sha256": sha256,
        "skipped_updates": int(run.state.skipped),
        "train": {"loss": _known(last.train_loss), "accuracy": _known(last.train_accuracy)},
        "validation": _validation(last, validated),
        "best": {
            "epoch": journal.best.epoch,
            "step": best_step,
            "validation": _validation(journal.best, validated),
        },
        "test": figures,
        **_timing(run, monotonic() - began),
    }
    run.reports.keep_rendered()
    _write_report(run.folder, run.network, journal.history, result, predictions, explain)
    run.reports.flush()
    # The last of all: where it is, predictions and report are.
    write_json(path, result)
    say(_sentence("Test set", test, best))
    say(f"All of it on one page: {run.folder / REPORT}")


def _best(run: Run) -> Trained:
    """The network of a run with the weights of its best epoch, which the chief reads."""
    row = run.state.journal.best
    if run.workers.chief:
        path = run.best.of_step(row.step)
        best = load_trained(run.network, run.config, run.dataset.classes, path)
    else:
        trained_from = first_trained(run.network.backbone, run.config.phase(row.phase))
        path = run.folder / "best"
        best = Trained(run.config, run.dataset.classes, run.network, trained_from, row.step, path)
    run.workers.assign_from_chief(run.network.model.variables)
    return best


@dataclasses.dataclass(frozen=True)
class Extras:
    """What is measured besides the best checkpoint alone.

    Attributes:
        views: how many of each image are averaged, see `lib.inference.views`; 1 for none.
        ensemble: other runs that are averaged with this one.
        validation: by which the probabilities are calibrated; None where they are not to be.
    """

    views: int = 1
    ensemble: Sequence[Baseline] = ()
    validation: Subset | None = None


def evaluate_best(
    folder: Path,
    config: Config,
    subset: Subset,
    directory: str | None,
    baseline: Baseline | None,
    stop: StopRequest,
    extras: Extras = Extras(),
) -> None:
    """Measures the best checkpoint of a run on a set, prints it and writes `evaluation.json`.

    Then come the figures, into the folder `evaluation`, and the baseline: where one of them fails,
    what was written before stays.

    Args:
        folder: of the run.
        config: what the run is.
        subset: the images.
        directory: where they are from; None for the test set of the run.
        baseline: another run to be compared on the same images.
        stop: whether the program was asked to end.
        extras: what else is measured.

    Raises:
        Stopped: it was.
        UserError: a run has no finished epoch, or its best checkpoint is damaged.
    """
    best = open_trained(folder, config, subset.classes, "best")
    evaluation = evaluate_trained(best, subset, stop)
    found = {"directory": directory, "step": best.step, **summary(evaluation, subset.classes)}
    say(_sentence(directory or "Test set", evaluation, best))
    if extras.validation:
        found["calibration"] = _calibrate(folder, best, evaluation, extras.validation, stop)
    averages = _averages(best, evaluation, subset, extras, stop)
    found |= {name: _against(name, evaluation, each) for name, each in averages.items()}
    write_json(folder / "evaluation.json", found)
    for name, figure in diagnostics.figures(evaluation.of(subset), make_gradcam(best.network)):
        try:
            plots.save(figure, folder / "evaluation" / f"{name}.png")
        except OSError as error:
            say(f"warning: the figure {name} could not be written ({reason(error)})")
        release_memory()  # A figure refers to itself, so it would stay while others are drawn.
    if extras.validation and directory is None:
        _add_to_result(folder, best, evaluation.of(subset), found["calibration"])
    if baseline:
        found["against"] = _compared(evaluation, baseline, stop)
        write_json(folder / "evaluation.json", found)


def _add_to_result(
    folder: Path, best: Trained, predictions: Predictions, found: dict[str, Any]
) -> None:
    """Adds a calibration to the result of a run and to its page, where it is finished."""
    path = folder / "result.json"
    result = read_json(path)
    if result.get("best", {}).get("step") != best.step:
        return
    result["calibration"] = found
    history, explain = read_history(folder / "history.csv"), make_gradcam(best.network)
    _write_report(folder, best.network, history, result, predictions, explain)
    write_json(path, result)
    say(f"It is in {path.name} and {REPORT} now, too")


def _compared(evaluation: Evaluation, baseline: Baseline, stop: StopRequest) -> dict[str, Any]:
    """Measures the baseline on the same images, and says which of the two is better, if any."""
    best = open_trained(baseline.folder, baseline.config, baseline.subset.classes, "best")
    other = evaluate_trained(best, baseline.subset, stop)
    test = mcnemar(evaluation.predicted == evaluation.labels, other.predicted == evaluation.labels)
    say(_sentence(str(baseline.folder), other, best))
    say(
        f"This run alone is right on {test.only_first} images, {baseline.folder} alone on"
        f" {test.only_second}: p = {test.p_value:.3g} by McNemar's exact test"
    )
    if baseline.seen:
        say(
            f"warning: {_seen(baseline)}, which favours it; compare on others with"
            f" {setting('test_dir')}"
        )
    return {
        "directory": str(baseline.folder),
        "step": best.step,
        "loss": other.loss,
        "accuracy": other.accuracy,
        "accuracy_interval": list(wilson_interval(other.correct, other.count)),
        "seen": baseline.seen,
        "only_this_correct": test.only_first,
        "only_other_correct": test.only_second,
        "p_value": test.p_value,
    }


def _seen(baseline: Baseline) -> str:
    return f"{baseline.seen} of these images were used to train or to choose {baseline.folder}"


def _calibrate(
    folder: Path, best: Trained, test: Evaluation, subset: Subset, stop: StopRequest
) -> dict[str, Any]:
    """Finds the temperature on the validation set, keeps it, and says what it does.

    What is measured with it on the set of the evaluation chose nothing.
    """
    validation = evaluate_trained(best, subset, stop)
    temperature = fit_temperature(validation.probabilities, validation.labels)
    found: dict[str, Any] = {"checkpoint": best.checkpoint.name, "temperature": temperature}
    for name, each in (("validation", validation), ("test", test)):
        scaled = _evaluated(each.labels, calibrated(each.probabilities, temperature))
        found[name] = {
            "loss": each.loss,
            "loss_calibrated": scaled.loss,
            "expected_calibration_error": _calibration_error(each),
            "expected_calibration_error_calibrated": _calibration_error(scaled),
        }
    write_json(folder / CALIBRATION, found)
    figures = found["test"]
    at_its_end = (
        " (the end of the range that is searched)"
        if (temperature <= LOWEST * 1.001 or temperature >= HIGHEST / 1.001)
        else ""
    )
    say(
        f"Calibrated on {validation.count} validation images: temperature {temperature:.4g}"
        f"{at_its_end}; calibration error {figures['expected_calibration_error']:.4f} raw,"
        f" {figures['expected_calibration_error_calibrated']:.4f} calibrated; loss"
        f" {figures['loss']:.4f} raw, {figures['loss_calibrated']:.4f} calibrated"
    )
    return found


def _calibration_error(evaluation: Evaluation) -> float:
    right = evaluation.labels == evaluation.predicted
    return calibration(right, evaluation.probabilities.max(axis=1)).error


def _averages(
    best: Trained, single: Evaluation, subset: Subset, extras: Extras, stop: StopRequest
) -> dict[str, Evaluation]:
    """The evaluations of what is averaged: over views, and over runs.

    Of a run that is calibrated the calibrated probabilities are averaged, as `lib.predict` does.
    """
    if extras.views == 1 and not extras.ensemble:
        return {}
    of_run = _over_views(best, single, subset, extras.views, stop)
    found = {"tta": of_run} if extras.views > 1 else {}
    if extras.ensemble:
        members = [of_run]
        for each in extras.ensemble:
            other = open_trained(each.folder, each.config, each.subset.classes, "best")
            alone = evaluate_trained(other, each.subset, stop)
            say(_sentence(str(each.folder), alone, other))
            members.append(_over_views(other, alone, each.subset, extras.views, stop))
            if each.seen:
                say(f"warning: {_seen(each)}, which favours the mean")
        mean = averaged([member.probabilities for member in members])[1]
        found["ensemble"] = _evaluated(single.labels, mean)
    return found


def _over_views(
    trained: Trained, single: Evaluation, subset: Subset, views: int, stop: StopRequest
) -> Evaluation:
    """The mean over views of each image, of which the first is the image itself, calibrated."""
    seen = trained.network.image_size
    others = [evaluate_trained(trained, viewed(subset, n, seen), stop) for n in range(1, views)]
    temperature = temperature_of(trained.checkpoint.parent.parent, trained.checkpoint)
    if temperature == 1.0 and not others:
        return single
    of_views = [each.probabilities for each in (single, *others)]
    if temperature != 1.0:
        of_views = [calibrated(each, temperature) for each in of_views]
    return _evaluated(single.labels, averaged(of_views)[1])


def _evaluated(labels: np.ndarray, probabilities: np.ndarray) -> Evaluation:
    """The evaluation of probabilities, float32 [n, classes], that are no single network's."""
    true = np.take_along_axis(probabilities, labels[:, np.newaxis].astype(int), axis=1)
    loss = float(np.mean(-np.log(np.maximum(true.astype(np.float64), 1e-38))))
    predicted = np.argmax(probabilities, axis=1).astype(np.int32)
    return Evaluation(loss, labels, predicted, probabilities)


def _against(what: str, single: Evaluation, mean: Evaluation) -> dict[str, Any]:
    """Compares a mean with the single run on the same images."""
    test = mcnemar(single.predicted == single.labels, mean.predicted == mean.labels)
    interval, gain = wilson_interval(mean.correct, mean.count), paired_interval(test, mean.count)
    name = {"tta": "Mean over views", "ensemble": "Mean over runs"}[what]
    say(
        f"{name}: accuracy {mean.accuracy:.4f} (95 % interval {interval[0]:.4f} to"
        f" {interval[1]:.4f}), loss {mean.loss:.4f}; {mean.accuracy - single.accuracy:+.4f} beside"
        f" the single run ({gain[0]:+.4f} to {gain[1]:+.4f}): it alone is right on"
        f" {test.only_second} images, the single run alone on {test.only_first}, p ="
        f" {test.p_value:.3g} by McNemar's exact test"
    )
    return {
        "loss": mean.loss,
        "accuracy": mean.accuracy,
        "accuracy_interval": list(interval),
        "accuracy_gain": mean.accuracy - single.accuracy,
        "accuracy_gain_interval": list(gain),
        "only_single_correct": test.only_first,
        "only_mean_correct": test.only_second,
        "p_value": test.p_value,
    }


def evaluate_trained(
    trained: Trained,
    subset: Subset,
    stop: StopRequest,
    workers: Workers = SINGLE,
    evaluator: Evaluator | None = None,
) -> Evaluation:
    """Evaluates a network on a set.

    Args:
        trained: with its weights.
        subset: the set.
        stop: whether the program was asked to end.
        workers: that share the images out.
        evaluator: of the phase in which it was trained; built where there is none.

    Raises:
        Stopped: it was.
    """
    if evaluator:
        engine, step = evaluator.engine, evaluator.step
    else:
        engine = trained.engine()
        step = make_evaluation_step(engine, trained.network)
    feed = EvaluationFeed(subset, engine, trained.config.batch_size, 0, workers)
    return evaluate(feed, step, stop, workers)


def summary(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of an evaluation, the accuracy with its 95 % confidence interval."""
    interval = wilson_interval(evaluation.correct, evaluation.count)
    return {
        "loss": evaluation.loss,
        "accuracy": evaluation.accuracy,
        "accuracy_interval": list(interval),
        "count": evaluation.count,
        **metrics(evaluation.labels, evaluation.predicted, evaluation.probabilities, classes),
    }


def _known(number: float) -> float | None:
    """A number that JSON can hold; an epoch whose updates were all left out has none."""
    return None if math.isnan(number) else number


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
    seconds = {**journal.seconds, "test": evaluation_seconds}
    # A part of the start is the first phase's already.
    total = journal.opening_seconds + sum(seconds.values())
    trained = {
        phase.name: len(epochs_of(phase, journal.history)) * len(run.dataset.train)
        for phase in run.config.phases
        if phase.name in journal.training_seconds
    }
    return {
        "seconds": {"start": journal.start_seconds, **seconds, "total": total},
        "images_per_second": {
            phase: count / journal.training_seconds[phase] for phase, count in trained.items()
        },
        "peak_memory_mb": peak_memory_mb(),
    }


def _write_report(
    folder: Path,
    network: Network,
    history: Sequence[Epoch],
    result: dict[str, Any],
    predictions: Predictions,
    explain: GradCam,
) -> None:
    """Writes all that is known of a run on one page.

    Raises:
        OSError: it cannot be written, and a run without its report is not finished.
    """
    saved = run_folder.require_saved(folder)
    layers = _layer_tables(network, saved.config, history)
    figure = folder / "plots" / "augmentation.png"
    run = dataclasses.asdict(saved)
    write_text(folder / REPORT, html(run, history, layers, result, predictions, explain, figure))


def _layer_tables(
    network: Network, config: Config, history: Sequence[Epoch]
) -> dict[str, list[Row]]:
    """What was frozen and what was trained in each phase that a run has been through."""
    tables = {}
    for phase in config.phases:
        if epochs_of(phase, history):
            freeze(network, first_trained(network.backbone, phase))
            tables[phase.name] = layer_table(network)
    return tables


def _sentence(what: str, evaluation: Evaluation, trained: Trained) -> str:
    low, high = wilson_interval(evaluation.correct, evaluation.count)
    return (
        f"{what}: accuracy {evaluation.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}),"
        f" loss {evaluation.loss:.4f}, on {evaluation.count} images"
        f" ({trained.config.weights_in_use} of step {trained.step})"
    )
