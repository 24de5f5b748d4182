"""Statistics of few numbers, with their sources: means, intervals, differences of pairs.

In plain Python and NumPy: four formulas do not pay for SciPy.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean and how sure it is.

    Attributes:
        mean: of the values.
        deviation: their standard deviation, with n - 1; None for a single value.
        interval: the 95 % t interval of the mean; None for a single value.
        count: how many values.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None
    count: int


class Difference(NamedTuple):
    """What two groups differ by, in pairs.

    Attributes:
        mean: of second minus first.
        interval: its 95 % t interval.
        p_value: how likely a mean at least as far from 0 is if there is no difference, two-sided.
        count: pairs.
    """

    mean: float
    interval: tuple[float, float]
    p_value: float
    count: int


def mean_of(values: Sequence[float], held_back: float = 0.0) -> Mean:
    """The mean of independent values, with the t interval.

    "Student", "The probable error of a mean", Biometrika 6, 1908: mean ± t(n - 1) · s / sqrt(n). It
    assumes that values are drawn independently from about a normal distribution.

    Folds of one data set are not independent, as any two share most of their training images. Then
    1 / n becomes 1 / n + (part held back) / (part trained on): C. Nadeau and Y. Bengio, "Inference
    for the generalization error", Machine Learning 52, 2003, section 4.

    Args:
        values: one or more.
        held_back: for folds, images held back in each per image trained on, 1 / (folds - 1).
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Mean(mean, None, None, n)
    deviation = float(np.std(values, ddof=1))
    half = t_quantile(0.975, n - 1) * deviation * math.sqrt(1 / n + held_back)
    return Mean(mean, deviation, (mean - half, mean + half), n)


def paired_difference(
    first: Sequence[float], second: Sequence[float], held_back: float = 0.0
) -> Difference | None:
    """What the second group has more than the first, by the paired t test.

    "Student", 1908, illustration I, on the differences of the pairs; for folds corrected as in
    `mean_of`.

    Args:
        first: a value per pair.
        second: likewise, in the same order.
        held_back: see `mean_of`.

    Returns:
        None for fewer than two pairs.
    """
    differences = np.subtract(second, first)
    if len(differences) < 2:
        return None
    found = mean_of(differences, held_back)
    error = found.deviation * math.sqrt(1 / found.count + held_back)
    if error == 0:  # all pairs differ by the same
        p_value = 1.0 if found.mean == 0 else 0.0
    else:
        p_value = 2 * t_tail(abs(found.mean) / error, found.count - 1)
    return Difference(found.mean, found.interval, p_value, found.count)


def t_tail(t: float, freedom: int) -> float:
    """How likely Student's t is above `t`, which is not negative.

    M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 1964, 26.7.1 and 26.5.27:
    half of the regularized incomplete beta function I(x; n / 2, 1 / 2) at x = n / (n + t²), where n
    is the freedom.

    Args:
        t: 0 or more.
        freedom: degrees of it, 1 or more.
    """
    return 0.5 * _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


@functools.cache
def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t stays below with a probability, by bisection of `t_tail`.

    Args:
        probability: from 0.5 to below 1.
        freedom: degrees of it, 1 or more.
    """
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if t_tail(middle, freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I(x; a, b), by its continued fraction: NIST's Digital Library, 8.17.22 (Lentz' method)."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly: 8.17.4
        return 1 - _incomplete_beta(1 - x, b, a)
    factor = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for k in range(1000):
        m = k // 2
        if k == 0:
            term = 1.0
        elif k % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + term * d) or tiny)
        c = (1 + term / c) or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return factor * (value - 1) / a
