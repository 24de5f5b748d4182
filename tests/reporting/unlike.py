"""Evaluations in which nothing is like anything else, so that a mix-up shows.

The classes are unbalanced, no confusion is mutual, and the best epoch is neither the last nor the
first nor the most accurate: what is right for one class, split or epoch is wrong for each other.
"""

import numpy as np

from lib.reporting.predictions import Predictions
from lib.runs.history import Epoch


def _predictions(classes: tuple[str, ...], labels: list[int], probabilities: list[list[float]]):
    answers = np.array(probabilities)
    return Predictions(
        classes=classes,
        names=[f"{classes[label]}/{n}.jpg" for n, label in enumerate(labels)],
        # An image's grey is ten times its position, by which it is recognised.
        pixels=lambda at: (
            np.full((len(at), 16, 16, 3), 10, np.uint8)
            * np.asarray(at, np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
        ),
        labels=np.array(labels, np.int32),
        predicted=answers.argmax(axis=1).astype(np.int32),
        probabilities=answers,
    )


# Two bees of five. By falling probability of a bee: bee, ant, bee, ant, ant.
TWO = _predictions(
    ("ants", "bees"),
    [1, 0, 1, 0, 0],
    [[0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.8, 0.2]],
)
# With the bees as positive: the points of both curves, over thresholds that fall.
TWO_ROC = [(0, 0), (0, 1 / 2), (1 / 3, 1 / 2), (1 / 3, 1), (2 / 3, 1), (1, 1)]
TWO_PRECISION_RECALL = [(1 / 2, 1), (1 / 2, 1 / 2), (1, 2 / 3), (1, 2 / 4), (1, 2 / 5)]
# Of the predicted class: probability, and how many of those with it are right.
TWO_RELIABILITY = [(0.6, 1), (0.7, 1), (0.8, 1 / 2), (0.9, 1)]
TWO_RELIABILITY_COUNTS = {8: 1, 10: 1, 11: 2, 13: 1}  # by the bin, of fifteen

# Five ants, three bees and two cicadas.
THREE = _predictions(
    ("ants", "bees", "cicadas"),
    [0, 0, 0, 0, 0, 1, 1, 1, 2, 2],
    [
        [0.90, 0.06, 0.04],
        [0.45, 0.44, 0.11],
        [0.05, 0.15, 0.80],
        [0.60, 0.30, 0.10],
        [0.40, 0.31, 0.29],
        [0.70, 0.20, 0.10],
        [0.10, 0.85, 0.05],
        [0.52, 0.47, 0.01],
        [0.02, 0.95, 0.03],
        [0.20, 0.15, 0.65],
    ],
)
# A row a true class, a column a predicted one.
THREE_CONFUSION = [[4, 0, 1], [2, 1, 0], [0, 1, 1]]
THREE_WORST = [8, 2, 5, 7]
# By the distance of the two likeliest classes, which is not the order of the likeliest's own.
THREE_LEAST_CERTAIN = [1, 7, 4, 3, 9, 5, 2, 6, 0, 8]

BEST, LAST = 2, 4
HISTORY = [
    Epoch.untrained(1.2, 0.3),
    Epoch(1, "head", 7, 1e-3, 1.0, 0.45, 0.9, 0.5, 210.0, 3.0),
    Epoch(2, "head", 14, 1e-3, 0.8, 0.55, 0.7, 0.75, 220.0, 4.0),
    Epoch(3, "head", 21, 1e-3, 0.6, 0.65, 0.75, 0.8, 230.0, 5.0),
    Epoch(4, "finetune", 28, 1e-5, 0.5, 0.85, 0.72, 0.6, 90.0, 6.0),
]


def result(test: dict) -> dict:
    """What `result.json` holds of a run with that history.

    Args:
        test: the figures of the test set.
    """
    last, best = HISTORY[LAST], HISTORY[BEST]

    def validation(row, interval):
        return {
            "loss": row.validation_loss,
            "accuracy": row.validation_accuracy,
            "accuracy_interval": interval,
            "count": 40,
        }

    return {
        "phase": last.phase,
        "epoch": last.epoch,
        "step": last.step,
        "weights_sha256": "c" * 64,
        "train": {"loss": last.train_loss, "accuracy": last.train_accuracy},
        "validation": validation(last, [0.446, 0.736]),
        "best": {
            "epoch": best.epoch,
            "step": best.step,
            "validation": validation(best, [0.598, 0.858]),
        },
        "test": test,
        "seconds": {"start": 9.0, "head": 61.0, "finetune": 42.0, "test": 5.0, "total": 113.0},
        "images_per_second": {"head": 225.0, "finetune": 90.0},
        "peak_memory_mb": 900.0,
    }


class Explained:
    """Stands for Grad-CAM, and remembers which class was asked for of which image."""

    def __init__(self):
        self.asked: list[list[tuple[int, int]]] = []

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        positions = (images[:, 0, 0, 0] // 10).tolist()
        self.asked.append(list(zip(positions, np.asarray(classes).tolist(), strict=True)))
        return np.zeros((len(images), 4, 4))
