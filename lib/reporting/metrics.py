"""Metrics of predictions beyond their accuracy.

Written out in NumPy, since each is a line or two and the usual library for them is larger than all
that a run needs besides TensorFlow. A figure that the data leave undefined, such as the precision
of a class that was never predicted, is None.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

CALIBRATION_BINS = 15


def metrics(
    labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """All figures of a classification, for a result as JSON.

    The areas under the curves are those of the second class where there are two, else the mean over
    the classes, each against all others.

    Args:
        labels: int [n], the true classes.
        predicted: int [n], the likeliest classes.
        probabilities: float [n, classes].
        classes: their names.
    """
    counts = confusion_matrix(labels, predicted, len(classes))
    areas = [
        (roc_auc(labels == k, probabilities[:, k]), pr_auc(labels == k, probabilities[:, k]))
        for k in range(len(classes))
    ]
    roc, pr = areas[1] if len(classes) == 2 else (_mean(each) for each in zip(*areas, strict=True))
    error = calibration(labels == predicted, probabilities.max(axis=1)).error
    rows = [
        {**figures, "roc_auc": area[0], "pr_auc": area[1]}
        for figures, area in zip(per_class(counts), areas, strict=True)
    ]
    return {
        "balanced_accuracy": _mean(row["recall"] for row in rows),
        "roc_auc": roc,
        "pr_auc": pr,
        "expected_calibration_error": error if math.isfinite(error) else None,
        "per_class": dict(zip(classes, rows, strict=True)),
        "confusion": {
            classes[true]: {classes[k]: int(row[k]) for k in np.flatnonzero(row)}
            for true, row in enumerate(counts)
        },
    }


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How many images of class `row` were taken for class `column`, int64 [classes, classes]."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def per_class(counts: np.ndarray) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, and how many images it has.

    Args:
        counts: the confusion matrix, int [classes, classes].
    """
    hits, true, claimed = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return [
        {
            "precision": _ratio(hits[k], claimed[k]),
            "recall": _ratio(hits[k], true[k]),
            "f1": _ratio(2 * hits[k], claimed[k] + true[k]),
            "count": int(true[k]),
        }
        for k in range(len(counts))
    ]


class Curve(NamedTuple):
    """Points of a curve over all thresholds, from the strictest to the most lenient.

    Attributes:
        x: float64 [points]; of the ROC the false positive rate, else the recall.
        y: float64 [points]; of the ROC the true positive rate, else the precision.
    """

    x: np.ndarray
    y: np.ndarray


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """The receiver operating characteristic, from (0, 0) to (1, 1).

    T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006, algorithm
    1: equal scores make one point, so the order of the examples has no say.

    Args:
        positive: bool [n], with examples of both kinds.
        scores: float [n], the higher the more likely positive.
    """
    hits, alarms = _cumulated(positive, scores)
    return Curve(np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1]))


def precision_recall_curve(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """Precision over recall, a point for each threshold; see `roc_curve` for the arguments."""
    hits, alarms = _cumulated(positive, scores)
    return Curve(hits / hits[-1], hits / (hits + alarms))


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under the ROC: how likely a positive example scores above a negative one."""
    if positive.all() or not positive.any():
        return None
    return float(np.trapezoid(*reversed(roc_curve(positive, scores))))


def pr_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under the precision-recall curve, by its steps (average precision).

    Straight lines between the points would be too optimistic: J. Davis and M. Goadrich, "The
    relationship between precision-recall and ROC curves", 2006.
    """
    if not positive.any():
        return None
    recall, precision = precision_recall_curve(positive, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


class Calibration(NamedTuple):
    """How confidence compares with accuracy, in bins of equal width over [0, 1].

    Attributes:
        confidence: float64 [bins], mean of the bin, NaN where it is empty.
        accuracy: float64 [bins], likewise.
        count: int64 [bins].
        error: the expected calibration error, the mean distance of the two over all examples.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def calibration(correct: np.ndarray, confidence: np.ndarray) -> Calibration:
    """Compares the probability of the predicted class with how often it is the right one.

    C. Guo et al., "On calibration of modern neural networks", 2017, equations 2 to 5.

    Args:
        correct: bool [n].
        confidence: float [n], in [0, 1].
    """
    confidence = confidence.astype(np.float64)
    # The bins are closed on the right, as in the paper.
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, None)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    claimed = np.bincount(bins, confidence, CALIBRATION_BINS)
    right = np.bincount(bins, correct, CALIBRATION_BINS)
    some = np.where(count > 0, count, np.nan)
    error = float(np.abs(right - claimed).sum() / len(correct))
    return Calibration(claimed / some, right / some, count, error)


class McNemar(NamedTuple):
    """Two classifiers on the same images.

    Attributes:
        only_first: how many images the first alone classifies correctly.
        only_second: how many the second alone does.
        p_value: how likely counts at least as uneven are if the two are equally good.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> McNemar:
    """McNemar's test in its exact form: two-sided, binomial, on the images where the two differ.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947.

    Args:
        first_correct: bool [n].
        second_correct: bool [n], on the same images in the same order.
    """
    only_first = int(np.sum(first_correct & ~second_correct))
    only_second = int(np.sum(second_correct & ~first_correct))
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    # Whole numbers to the end: 2**differing alone is beyond a float from 1024 on.
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**differing))


def paired_interval(test: McNemar, count: int) -> tuple[float, float]:
    """The 95 % interval of the second classifier's accuracy less the first one's.

    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24, 2005: Wald's, with half an image more in each of the four cells.

    Args:
        test: the images where the two differ.
        count: how many images there are in all.
    """
    gained, lost, n = test.only_second + 0.5, test.only_first + 0.5, count + 2
    half = NormalDist().inv_cdf(0.975) * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    difference = (gained - lost) / n
    return max(-1.0, difference - half), min(1.0, difference + half)


def _cumulated(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each threshold, which is one of the scores, the highest first."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return np.cumsum(hit)[last], np.cumsum(~hit)[last]


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
