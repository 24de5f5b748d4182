"""The result of a run: accuracy with its uncertainty, and its predictions as a table."""

import math
from collections.abc import Iterable
from pathlib import Path
from statistics import NormalDist

from lib.system.files import write_csv


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy measured on `count` independent examples.

    Unlike the textbook's p ± z·sqrt(p(1-p)/n) it stays within [0, 1] and keeps close to its nominal
    coverage for the small test sets and accuracies near 1 that are usual here.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (158), 1927, pages 209-212.

    Args:
        correct: how many examples were classified correctly.
        count: how many there were; at least 1.
        confidence: the probability that the interval covers the true accuracy, in (0, 1).

    Returns:
        The lower and the upper bound, each in [0, 1].

        >>> low, high = wilson_interval(195, 200)
        >>> f"{low:.3f} to {high:.3f}"
        '0.943 to 0.989'

    Raises:
        ValueError: not 0 <= correct <= count, or no examples at all.
    """
    if not 0 <= correct <= count or count < 1:
        raise ValueError(f"{correct} correct of {count} examples is not a measurement")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = correct / count
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    # min and max only remove what rounding adds when everything, or nothing, is correct.
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def write_predictions(path: Path, rows: Iterable[tuple[str, str, str, float]]) -> None:
    """Writes one row per image as CSV: file, true class, predicted class, probability.

    Args:
        path: the CSV file to write.
        rows: the cells in that order; the probability is that of the predicted class.
    """
    header = ("file", "true_class", "predicted_class", "probability")
    write_csv(path, header, ((*words, repr(float(probability))) for *words, probability in rows))
