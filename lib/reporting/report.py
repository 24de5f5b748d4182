"""A run on one page: `report.html`, a single file that opens without a server or a network."""

import base64
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib.config import not_default, setting, written
from lib.reporting.diagnostics import side_by_side
from lib.reporting.layer_table import Row
from lib.reporting.metrics import calibration, precision_recall_curve, roc_curve
from lib.reporting.predictions import Explain, Predictions, percent
from lib.reporting.svg import Series, line_chart
from lib.reporting.web import page
from lib.reporting.web import safe as _safe
from lib.reporting.web import section as _section
from lib.reporting.web import table as _table
from lib.runs.history import Epoch, phase_starts
from lib.system.progress import duration

REPORT = "report.html"
_GALLERY = 12  # images in each gallery
_MATRIX_CLASSES = 20  # up to so many, the confusion matrix is shown whole


def html(
    run: Mapping[str, Any],
    history: Sequence[Epoch],
    layers: Mapping[str, Sequence[Row]],
    result: Mapping[str, Any],
    predictions: Predictions,
    explain: Explain,
    augmentation: Path | None = None,
) -> str:
    """The page.

    Args:
        run: what `config.json` holds: flags, facts and made_by.
        history: the epochs.
        layers: the layer table of each phase.
        result: what `result.json` holds.
        predictions: the test set.
        explain: where the network saw a class.
        augmentation: the figure of augmented training images; left out where there is none.
    """
    flags, facts, test = run["flags"], run["facts"], result["test"]
    title = Path(flags["workdir"]).name
    low, high = test["accuracy_interval"]
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(", ".join(facts["classes"][:12]))}'
        f"{' and more' if len(facts['classes']) > 12 else ''}; {result['epoch']} epochs,"
        f" {result['step']:,} steps</p>",
        f'<p class="lead"><strong>{test["accuracy"] * 100:.1f} %</strong> of {test["count"]:,} test'
        f" images right (95 % interval {low * 100:.1f} to {high * 100:.1f} %), with the"
        f" {'averaged weights' if flags.get('ema') else 'weights'}"
        f" of epoch {result['best']['epoch']}, the one of the lowest validation loss</p>",
        _section("Curves", _curves(history)),
        _section("Results", _results(result)),
        _section("Confusion", _confusion(predictions.classes, test)),
        _section("Thresholds and trust", _trust(predictions)),
        _section(
            "The surest mistakes",
            _gallery(predictions, predictions.worst_mistakes(_GALLERY), explain),
        ),
        _section(
            "The least certain predictions",
            _gallery(predictions, predictions.least_certain(_GALLERY), explain),
        ),
        _section("What was run", _run(flags, facts)),
        _section("What was trained", "".join(_layers(*each) for each in layers.items())),
        _section("What training saw", _augmentation(flags, augmentation)),
        _section("Speed", _speed(result)),
        _section("How to reproduce it", _reproduce(run, result)),
    ]
    return page(title, sections)


def _curves(history: Sequence[Epoch]) -> str:
    epochs = [row.epoch for row in history]
    marks = phase_starts(history)[1:]
    charts = []
    for quantity in ("accuracy", "loss"):
        series = [
            Series(split, style, epochs, [getattr(row, f"{split}_{quantity}") for row in history])
            for split, style in (("train", "first dashed"), ("validation", "second"))
        ]
        x_range = (0, max(1, *epochs))
        charts.append(line_chart(quantity.capitalize(), "epoch", series, x_range, marks=marks))
    key = (
        '<p class="soft"><span class="key first"></span>training (augmented images, with dropout)'
        ' &emsp; <span class="key second"></span>validation</p>'
    )
    return f'{key}<div class="pair">{"".join(charts)}</div>'


def _results(result: Mapping[str, Any]) -> str:
    best, test = result["best"], result["test"]
    rows = [
        ("training, last epoch", result["train"]),
        ("validation, last epoch", result["validation"]),
        (f"validation, best epoch ({best['epoch']})", best["validation"]),
        ("test, weights of the best epoch", test),
    ]
    accuracies = _table(
        ("", "accuracy", "95 % interval", "loss", "images"),
        (
            (
                name,
                _number(row["accuracy"]),
                " to ".join(map(_number, row.get("accuracy_interval", ()))),
                _number(row["loss"]),
                f"{row['count']:,}" if "count" in row else "",
            )
            for name, row in rows
        ),
    )
    names = ("balanced_accuracy", "roc_auc", "pr_auc", "expected_calibration_error")
    figures = [(_title(name), _number(test[name])) for name in names]
    others = _table(("on the test set", ""), figures + _calibrated(result.get("calibration")))
    figures = ("precision", "recall", "f1", "roc_auc", "pr_auc")
    classes = _table(
        ("class", *map(_title, figures), "images"),
        (
            (name, *(_number(row[figure]) for figure in figures), f"{row['count']:,}")
            for name, row in test["per_class"].items()
        ),
    )
    return f'<div class="pair">{accuracies}{others}</div><br>{classes}'


def _calibrated(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What a temperature makes of the probabilities, to stand below the raw calibration error."""
    if found is None:
        return []
    test, at = found["test"], f"at the temperature {found['temperature']:.3g}"
    return [
        (
            f"expected calibration error {at}",
            _number(test["expected_calibration_error_calibrated"]),
        ),
        (f"loss {at}", _number(test["loss_calibrated"])),
    ]


def _confusion(classes: Sequence[str], test: Mapping[str, Any]) -> str:
    """The matrix; of many classes, the confusions that are most frequent."""
    counts = test["confusion"]
    if len(classes) > _MATRIX_CLASSES:
        pairs = [
            (count, true, predicted)
            for true, row in counts.items()
            for predicted, count in row.items()
            if true != predicted
        ]
        pairs.sort(key=lambda pair: -pair[0])
        return _table(
            ("true class, taken for", "images"),
            ((f"{true}, {predicted}", str(count)) for count, true, predicted in pairs[:20]),
        )
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    body = ""
    for true in classes:
        row = counts[true]
        total = max(1, sum(row.values()))
        cells = "".join(
            f'<td style="--share:{row.get(name, 0) / total:.3f}">{row.get(name, 0)}<br>'
            f'<span class="soft">{row.get(name, 0) / total * 100:.0f} %</span></td>'
            for name in classes
        )
        body += f"<tr><th>{escape(true)}</th>{cells}</tr>"
    return (
        '<p class="soft">a row per true class, a column per predicted one</p><div class="wide">'
        f'<table class="confusion"><tr><th></th>{head}</tr>{body}</table></div>'
    )


def _trust(predictions: Predictions) -> str:
    """Reliability; for two classes the curves over all thresholds too."""
    charts = []
    positive = predictions.labels == 1
    if len(predictions.classes) == 2 and positive.any() and not positive.all():
        scores, name = predictions.probabilities[:, 1], predictions.classes[1]
        alarms, hits = roc_curve(positive, scores)
        recall, precision = precision_recall_curve(positive, scores)
        chance = Series("chance", "soft", (0, 1), (0, 1), dots=False)
        for title, label, x, y, others in (
            (f"ROC: true positive rate of {name}", "false positive rate", alarms, hits, [chance]),
            (f"Precision of {name}", "recall", recall, precision, []),
        ):
            lines = [*others, Series(name, "second", x, y, dots=False)]
            charts.append(line_chart(title, label, lines, (0, 1), (0, 1.02)))
    found = calibration(
        predictions.labels == predictions.predicted, predictions.probabilities.max(axis=1)
    )
    some = found.count > 0
    lines = [
        Series("perfect", "soft", (0, 1), (0, 1), dots=False),
        Series("predictions", "first loose", found.confidence[some], found.accuracy[some]),
    ]
    title = "Accuracy of predictions by their probability"
    charts.append(line_chart(title, "probability", lines, (0, 1), (0, 1.02)))
    return f'<div class="pair">{"".join(charts)}</div>'


def _gallery(predictions: Predictions, positions: np.ndarray, explain: Explain) -> str:
    if not len(positions):
        return "<p>None.</p>"
    images = predictions.pixels(positions)
    heatmaps = explain(images, predictions.predicted[positions])
    tiles = []
    for position, image, heat, true, predicted, certainty in zip(
        positions, images, heatmaps, *predictions.words(positions), strict=True
    ):
        style = "right" if true == predicted else "wrong"
        name = predictions.names[position]
        tiles.append(
            f'<figure><img src="{_jpeg(side_by_side(image, heat))}" loading="lazy"'
            f' alt="{_safe(name)}"><figcaption><span class="{style}">{_safe(predicted)}'
            f" {_safe(percent(certainty, 1))}</span>, true: {_safe(true)}<br>{_safe(name)}"
            "</figcaption></figure>"
        )
    note = (
        '<p class="soft">Left the image as the network gets it, right what spoke for the'
        " predicted class (Grad-CAM)</p>"
    )
    return f'{note}<div class="tiles">{"".join(tiles)}</div>'


def _run(flags: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{count:,} for {part}" for part, count in facts["images"].items())
    changed = [(setting(name), value) for name, value in not_default(flags).items()]
    all_flags = [(setting(name), written(value)) for name, value in flags.items()]
    every = _table(("flag", "value"), all_flags, numbers=False)
    return (
        f"<p>{escape(flags['dataset'])}: {splits} images.</p>"
        f"{_table(('flag, where not the default', 'value'), changed, numbers=False)}"
        f"<details><summary>All flags</summary>{every}</details>"
    )


def _layers(phase: str, rows: Sequence[Row]) -> str:
    trained, total = sum(row[3] for row in rows), sum(row[2] for row in rows)
    table = _table(
        ("block", "layers", "parameters", "trained"),
        (
            (name, span, f"{all_:,}", f"{some:,}" if some else "frozen")
            for name, span, all_, some in rows
        ),
    )
    share = f"{trained:,} of {total:,} parameters trained"
    return f"<details><summary>Phase {escape(phase)}: {share}</summary>{table}</details>"


def _augmentation(flags: Mapping[str, Any], figure: Path | None) -> str:
    """How training images were varied, and the first of them."""
    how = f"<p><code>{_safe(setting('augment', flags['augment']))}</code></p>"
    if figure is None or not figure.is_file():
        return how
    with Image.open(figure) as image:
        pixels = np.asarray(image.convert("RGB").reduce(2))
    return f'{how}<img src="{_jpeg(pixels)}" loading="lazy" alt="augmented training images">'


def _speed(result: Mapping[str, Any]) -> str:
    speed = result["images_per_second"]
    rows = [
        (name, duration(seconds), f"{speed[name]:.0f} images/s" if name in speed else "")
        for name, seconds in result["seconds"].items()
    ]
    memory = f"<p>Peak memory {result['peak_memory_mb']:,.0f} MiB.</p>"
    return _table(("", "time", "training"), rows) + memory


def _reproduce(run: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    given = [
        setting(name, value)
        for name, value in not_default(run["flags"]).items()
        if name not in ("data_dir", "plugin")
    ]
    given += [setting("plugin", path) for path in run["flags"]["plugin"]]
    made_by = ", ".join(f"{name} {value}" for name, value in run["made_by"].items() if value)
    return (
        f"<pre>{_safe(shlex.join(['python', 'train.py', *given]))}</pre>"
        f'<p class="soft">{_safe(made_by)}<br>data sha256 {run["facts"]["data_sha256"]}<br>weights'
        f" sha256 {result['weights_sha256']}: the same command on such a machine ends with it</p>"
    )


def _title(name: str) -> str:
    words = {"roc": "ROC", "pr": "PR", "auc": "AUC", "f1": "F1"}
    return " ".join(words.get(word, word) for word in name.split("_"))


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.4f}"


def _jpeg(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
