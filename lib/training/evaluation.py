"""Evaluation of the network on a set of images."""

import dataclasses

import numpy as np

from lib.data.dataset import Subset
from lib.data.examples import one_hot_targets
from lib.reporting.predictions import Predictions
from lib.system import fault_points
from lib.system.prefetching import prefetched
from lib.system.progress import bar
from lib.system.runtime import threads
from lib.training.feed import EvaluationFeed
from lib.training.losses import answers, cross_entropy
from lib.training.steps import EvaluationStep
from lib.training.stopping import StopRequest


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The network's answers for each image of a set, and how they compare with the truth.

    Attributes:
        loss: mean over the set.
        labels: int32 [n], the true classes.
        predicted: int32 [n], the likeliest classes.
        probabilities: float32 [n, classes].
    """

    loss: float
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    def correct(self) -> int:
        """How many of them were classified correctly."""
        return int(np.sum(self.predicted == self.labels))

    @property
    def accuracy(self) -> float:
        """The correct ones' part of all."""
        return self.correct / self.count

    def of(self, subset: Subset) -> Predictions:
        """The predictions of the evaluation, with the images that it is of."""
        return Predictions(
            subset.classes,
            subset.names,
            subset.pixels,
            self.labels,
            self.predicted,
            self.probabilities,
        )


def evaluate(feed: EvaluationFeed, step: EvaluationStep, stop: StopRequest) -> Evaluation:
    """Runs a whole set through the network; nothing is read from the device before the end.

    Args:
        feed: the set.
        step: features of a batch to its logits.
        stop: whether the program was asked to end.

    Raises:
        Stopped: a signal came.
    """
    labels, logits = [], []
    with bar("evaluating", feed.examples, "images") as advance:
        answers_of = prefetched(
            lambda batch: (batch.labels, step(batch.features)), feed, *[threads()] * 2
        )
        for true, found in answers_of:
            fault_points.point("evaluation")
            stop.raise_if_requested()
            labels.append(true)
            logits.append(found[: len(true)])
            advance(len(true))
    all_labels, all_logits = np.concatenate(labels), np.concatenate(logits)
    predicted, probabilities = answers(all_logits)
    targets = one_hot_targets(all_labels, probabilities.shape[1])
    losses = cross_entropy(all_logits, targets)
    loss = float(np.mean(losses, dtype=np.float64))
    return Evaluation(loss, all_labels, predicted, probabilities)
