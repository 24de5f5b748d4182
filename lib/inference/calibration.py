"""Temperature scaling: probabilities that say how often they are right.

The logits of a network are divided by one number, the temperature, that makes the cross-entropy on
the validation set the smallest: C. Guo et al., "On calibration of modern neural networks", 2017,
section 4.2. No class becomes another one by it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lib.config import setting
from lib.system.files import read_json
from lib.system.progress import say

CALIBRATION = "calibration.json"
LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with which the mean cross-entropy is the smallest.

    In the inverse temperature the cross-entropy is convex: where its slope is zero is found by
    bisection.

    Args:
        probabilities: float [n, classes], of the network as it is.
        labels: int [n], the true classes.

    Returns:
        It, from `LOWEST` to `HIGHEST`; one of these where the slope is zero beyond, as where every
        image is classified correctly.
    """
    logits = _logits(probabilities)
    true = np.take_along_axis(logits, labels[:, np.newaxis].astype(int), axis=1)[:, 0]
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(100):
        inverse = (low + high) / 2
        slope = np.mean(np.sum(_softmax(inverse * logits) * logits, axis=1) - true)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
    return float(1 / high)


def calibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities as they are once the logits are divided by a temperature.

    Args:
        probabilities: float [n, classes].
        temperature: above 0.

    Returns:
        float32 [n, classes].
    """
    return _softmax(_logits(probabilities) / temperature).astype(np.float32)


def temperature_of(folder: Path, checkpoint: Path) -> float:
    """The temperature that a run was calibrated with, 1 where it was not.

    Args:
        folder: of the run.
        checkpoint: that is used, which must be the one that was calibrated.
    """
    found: dict[str, Any] = read_json(folder / CALIBRATION)
    if not found:
        return 1.0
    if found.get("checkpoint") != checkpoint.name or checkpoint.parent != folder / "best":
        say(
            f"warning: {folder / CALIBRATION} is of another checkpoint, and is not used: calibrate"
            f" again with {setting('phase', 'evaluate')} {setting('calibrate')}"
        )
        return 1.0
    return float(found["temperature"])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """The logits of probabilities but for a constant, which the softmax does not see."""
    return np.log(np.maximum(probabilities.astype(np.float64), 1e-38))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
