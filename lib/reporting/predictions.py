"""The predictions of a network for a set of images, with the true classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Images, uint8 [n, size, size, 3], and classes, int [n], to heat maps, float [n, h, w] in 0 to 1.
Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Predictions:
    """The predictions for n images, with their true classes.

    Attributes:
        classes: their names; a label is an index into it.
        names: of the images' files, n of them.
        pixels: positions, int [k], to images, uint8 [k, size, size, 3].
        labels: int [n], the true classes.
        predicted: int [n], the likeliest classes.
        probabilities: float [n, classes].
    """

    classes: Sequence[str]
    names: Sequence[str]
    pixels: Callable[[np.ndarray], np.ndarray]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    def first(self, limit: int) -> np.ndarray:
        """The positions of the first images."""
        return np.arange(min(limit, len(self.labels)))

    def worst_mistakes(self, limit: int) -> np.ndarray:
        """The positions of the misclassified images, those of the surest mistakes first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.certainty(wrong), kind="stable")][:limit]

    def least_certain(self, limit: int) -> np.ndarray:
        """The positions of the images whose two likeliest classes are nearest to each other."""
        two = np.partition(self.probabilities, -2, axis=1)[:, -2:]
        return np.argsort(two[:, 1] - two[:, 0], kind="stable")[:limit]

    def certainty(self, positions: np.ndarray) -> np.ndarray:
        """The probability of the predicted class of some images."""
        return self.probabilities[positions, self.predicted[positions]]

    def words(self, positions: np.ndarray) -> tuple[list[str], list[str], np.ndarray]:
        """True classes, predicted classes and their probabilities, for captions."""
        true = [self.classes[label] for label in self.labels[positions]]
        predicted = [self.classes[label] for label in self.predicted[positions]]
        return true, predicted, self.certainty(positions)


def percent(probability: float, decimals: int = 0) -> str:
    """A probability in percent; rounding does not turn it into a certainty."""
    text = f"{probability * 100:.{decimals}f} %"
    certain = f"{100:.{decimals}f} %"
    return f">{100 - 10**-decimals:.{decimals}f} %" if text == certain else text
