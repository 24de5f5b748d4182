"""The accuracy of a linear model on raw pixels of the drawn cats and dogs: it should be low.

    python -m benchmarks.linear_on_pixels [FOLDER]

Logistic regression on images shrunk to 32 x 32, with several strengths of weight decay; the best
validation accuracy of them counts, which if anything flatters the model. Without FOLDER (one with
train/ and validation/) the data set is drawn into a temporary one.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data.drawn import draw_cats_and_dogs

_SIDE = 32
_WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1, 1.0)
_STEPS = 1000


def read_pixels(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a split with the class folders cats and dogs.

    Returns:
        Pixels as float64 (images, side * side * 3) in [0, 1], and labels, 1.0 for dogs.
    """
    files = sorted(folder.glob("*/*.jpg"))
    pixels = [np.asarray(Image.open(file).resize((_SIDE, _SIDE))).ravel() for file in files]
    labels = [float(file.parent.name == "dogs") for file in files]
    return np.stack(pixels) / 255, np.array(labels)


def fit(x: np.ndarray, y: np.ndarray, weight_decay: float) -> np.ndarray:
    """Fits logistic regression by accelerated gradient descent on all of `x` (float, 2-D)."""
    # The loss's curvature is at most this, so that a step of its inverse never overshoots.
    curvature = 0.25 * np.linalg.norm(x, ord=2) ** 2 / len(x) + weight_decay
    weights = ahead = np.zeros(x.shape[1])
    for step in range(_STEPS):
        error = 1 / (1 + np.exp(-x @ ahead)) - y
        gradient = x.T @ error / len(x) + weight_decay * ahead
        before, weights = weights, ahead - gradient / curvature
        ahead = weights + step / (step + 3) * (weights - before)
    return weights


def main() -> None:
    with contextlib.ExitStack() as stack:
        if len(sys.argv) > 1:
            root = Path(sys.argv[1])
        else:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()), "drawn")
            draw_cats_and_dogs(root, lambda *_: contextlib.nullcontext(lambda _: None))
        (x_train, y_train), (x_validation, y_validation) = (
            read_pixels(root / split) for split in ("train", "validation")
        )
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    x_train, x_validation = ((x - mean) / deviation for x in (x_train, x_validation))
    for weight_decay in _WEIGHT_DECAYS:
        weights = fit(x_train, y_train, weight_decay)
        train, validation = (
            np.mean((x @ weights > 0) == (y == 1))
            for x, y in ((x_train, y_train), (x_validation, y_validation))
        )
        print(f"weight decay {weight_decay:5}: train {train:.3f}, validation {validation:.3f}")


if __name__ == "__main__":
    main()
