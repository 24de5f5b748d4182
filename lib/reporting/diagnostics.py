"""Figures that show where a classifier errs and how far it can be trusted."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.reporting.heatmap import overlay
from lib.reporting.metrics import (
    CALIBRATION_BINS,
    Curve,
    calibration,
    confusion_matrix,
    pr_auc,
    precision_recall_curve,
    roc_auc,
    roc_curve,
)
from lib.reporting.plots import (
    BLUE,
    GREY,
    VERMILLION,
    as_shipped,
    confusion,
    draw_image,
    families,
    new_figure,
    prediction_grid,
    shown,
)
from lib.reporting.predictions import Explain, Predictions, percent
from lib.reporting.result import wilson_interval

# Okabe and Ito's palette; black serves where nothing else is drawn in grey.
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00")
STYLES = ("-", "--", "-.", ":")
GALLERY, GALLERY_COLUMNS = 9, 3
_SHOWN = 16  # images in the grid of predictions
_LEGEND_COLUMNS = 3


def figures(predictions: Predictions, explain: Explain) -> Iterator[tuple[str, Figure]]:
    """Makes the figures of an evaluation, one by one: each takes 8 MB once it is drawn.

    Args:
        predictions: of the set.
        explain: where the network saw a class.

    Yields:
        A name and its figure; a curve that the labels leave undefined is left out.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    first = predictions.first(_SHOWN)
    yield "predictions", prediction_grid(predictions.pixels(first), *predictions.words(first))
    counts = confusion_matrix(labels, predictions.predicted, len(predictions.classes))
    yield "confusion", confusion(counts, predictions.classes)
    for name, curve in (("roc", roc), ("precision_recall", precision_recall)):
        if figure := curve(labels, probabilities, predictions.classes):
            yield name, figure
    yield "reliability", reliability(labels, predictions.predicted, probabilities)
    for name, title, positions in (
        ("mistakes", "The surest mistakes", predictions.worst_mistakes(GALLERY)),
        ("least_certain", "The least certain predictions", predictions.least_certain(GALLERY)),
    ):
        images = predictions.pixels(positions)
        heatmaps = explain(images, predictions.predicted[positions])
        title += ", and what spoke for them (Grad-CAM)"
        yield name, gallery(title, images, heatmaps, *predictions.words(positions))


@as_shipped()
def roc(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure | None:
    """The ROC curve and its upper left corner enlarged, where good classifiers differ.

    Of two classes the second counts as positive; of more, each against all others, the eight
    hardest. None where the labels are all of one class, so that no curve is defined.

    Args:
        labels: int [n], the true classes.
        probabilities: float [n, classes].
        classes: their names.
    """
    curves = _curves(labels, probabilities, classes, roc_curve, roc_auc)
    if not curves:
        return None
    figure, panels, corner = _two_panels("ROC curve", classes, curves, ideal=0)
    for axes in panels:
        axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
        for index, (name, curve) in enumerate(curves):
            axes.plot(*curve, label=name, **_line(index))
        axes.set_xlabel("false positive rate", fontsize=11)
        axes.set_ylabel("true positive rate", fontsize=11)
    panels[1].set_xlim(-0.02 * corner, corner)
    _legend(figure, panels[0])
    return figure


@as_shipped()
def precision_recall(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure | None:
    """Precision against recall and the upper right corner enlarged; see `roc`."""
    curves = _curves(labels, probabilities, classes, precision_recall_curve, pr_auc)
    if not curves:
        return None
    figure, panels, corner = _two_panels("Precision and recall", classes, curves, ideal=1)
    for axes in panels:
        if len(classes) == 2:
            axes.axhline(np.mean(labels == 1), linestyle=":", color=GREY, label="chance")
        for index, (name, (recall, precision)) in enumerate(curves):
            # Between two thresholds there is nothing, so steps: the area is theirs too.
            x, y = np.append(0.0, recall), np.append(precision[0], precision)
            axes.step(x, y, where="pre", label=name, **_line(index))
        axes.set_xlabel("recall", fontsize=11)
        axes.set_ylabel("precision", fontsize=11)
    panels[1].set_xlim(1 - corner, 1 + 0.02 * corner)
    _legend(figure, panels[0])
    return figure


@as_shipped()
def reliability(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The reliability diagram: how often predictions of some confidence are right, and how many.

    Args:
        labels: int [n], the true classes.
        predicted: int [n], the likeliest classes.
        probabilities: float [n, classes].
    """
    correct, confidence = labels == predicted, probabilities.max(axis=1)
    found = calibration(correct, confidence)
    some = found.count > 0
    x, y, counts = found.confidence[some], found.accuracy[some], found.count[some]
    bounds = [
        wilson_interval(round(share * count), int(count))
        for share, count in zip(y, counts, strict=True)
    ]
    figure = new_figure(4.2)
    figure.suptitle(f"Reliability: expected calibration error {found.error:.3f}", fontsize=13)
    axes, below = figure.subplots(1, 2)
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    reach = np.abs(np.transpose(bounds) - y)
    axes.errorbar(x, y, reach, fmt="none", ecolor=BLUE, capsize=3, label="95 % interval")
    axes.scatter(x, y, 20 + 180 * counts / counts.max(), color=BLUE, label="images of a bin")
    axes.set_ylim(-0.03, 1.05)
    axes.set_ylabel("accuracy", fontsize=11)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    below.stairs(found.count, edges, fill=True, color=BLUE, alpha=0.6)
    below.set_ylabel("images", fontsize=11)
    for each in (axes, below):
        # The likeliest of k classes has a probability of 1/k at least.
        each.set_xlim(1 / probabilities.shape[1] - 0.02, 1.03)
        each.set_xlabel("probability of the predicted class", fontsize=11)
        _plain(each)
    _legend(figure, axes)
    return figure


@as_shipped()
def gallery(
    title: str,
    images: np.ndarray,
    heatmaps: np.ndarray,
    true_names: Sequence[str],
    predicted_names: Sequence[str],
    probabilities: Sequence[float],
) -> Figure:
    """Images, each with a heat map of what spoke for the predicted class next to it.

    Args:
        title: of the figure.
        images: uint8 [n, size, size, 3]; may be none at all.
        heatmaps: float [n, h, w], 0 to 1.
        true_names: the class of each image.
        predicted_names: the class predicted for each.
        probabilities: of the predicted class, in [0, 1].
    """
    rows = math.ceil(len(images) / GALLERY_COLUMNS)
    figure = new_figure(0.5 + 1.8 * max(rows, 0.5))
    figure.suptitle(title, fontsize=13)
    if not rows:
        figure.text(0.5, 0.3, "none", ha="center", fontsize=13, color=GREY)
    for index, pair in enumerate(map(side_by_side, images, heatmaps)):
        axes = figure.add_subplot(rows, GALLERY_COLUMNS, 1 + index)
        draw_image(axes, pair)
        true, predicted = true_names[index], predicted_names[index]
        axes.set_title(
            f"{shown(predicted, 20)} {percent(probabilities[index], 1)}\ntrue: {shown(true, 24)}",
            fontsize=10,
            loc="left",
            color=BLUE if true == predicted else VERMILLION,
            family=families(),
        )
    return figure


def side_by_side(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image, and it again under its heat map.

    Args:
        image: uint8 [size, size, 3].
        heat: float [h, w], 0 to 1.

    Returns:
        uint8 [size, 2 size + 4, 3].
    """
    gap = np.full((len(image), 4, 3), 255, np.uint8)
    return np.concatenate([image, gap, overlay(image, heat)], axis=1)


def _curves(labels, probabilities, classes, curve, area) -> list[tuple[str, Curve]]:
    """(label with the area, curve) of what is to be drawn."""
    of_interest = [1] if len(classes) == 2 else range(len(classes))
    found = []
    for k in of_interest:
        positive = labels == k
        if positive.any() and not positive.all():
            size = area(positive, probabilities[:, k])
            found.append((size, k, curve(positive, probabilities[:, k])))
    found.sort(key=lambda each: each[:2])
    return [
        (f"{shown(classes[k], 22)} (area {size:.4f})", points)
        for size, k, points in found[: len(COLOURS)]
    ]


def _two_panels(
    title: str, classes: Sequence[str], curves: list, ideal: int
) -> tuple[Figure, Sequence[Axes], float]:
    """A figure for curves whose best point is (ideal, 1), and how large its enlarged corner is."""
    rows = math.ceil((len(curves) + 1) / _LEGEND_COLUMNS)
    figure = new_figure(4.45 + 0.25 * rows)
    if len(classes) > len(curves) > 1:
        title += f" of the {len(curves)} hardest of {len(classes)} classes"
    figure.suptitle(title, fontsize=13)
    # Every curve bends within the corner.
    nearest = max(np.min(np.maximum(np.abs(x - ideal), 1 - y)) for _, (x, y) in curves)
    corner = next((size for size in (0.02, 0.05, 0.1, 0.2) if size > 2 * nearest), 0.5)
    panels = figure.subplots(1, 2)
    for axes, side in zip(panels, (1.0, corner), strict=True):
        axes.set_ylim(1 - side, 1 + 0.02 * side)
        axes.set_box_aspect(1)
        _plain(axes)
    panels[0].set_xlim(-0.02, 1.02)
    panels[1].set_title("its corner, enlarged", fontsize=11, loc="left")
    return figure, panels, corner


def _line(index: int) -> dict:
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": STYLES[index % len(STYLES)],
        "linewidth": 1.8,
    }


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        prop={"family": families(), "size": 9},
    )
