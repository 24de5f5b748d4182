"""Evaluation of the network on a set of images."""

import dataclasses

import numpy as np
import tensorflow as tf

from lib.data.dataset import Subset
from lib.data.examples import one_hot_targets
from lib.distribution.workers import SINGLE, Workers
from lib.model.engine import Engine
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


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """What evaluates any weights of a phase, as what is frozen in it is the same for all of them.

    Attributes:
        phase: its name.
        engine: computes the features of images.
        step: features of a batch to its logits.
    """

    phase: str
    engine: Engine
    step: EvaluationStep


def evaluate(
    feed: EvaluationFeed,
    step: EvaluationStep,
    stop: StopRequest,
    workers: Workers = SINGLE,
) -> Evaluation:
    """Runs a whole set through the network, batch by batch; each worker takes one in turn.

    Args:
        feed: the set.
        step: features of a batch to its logits.
        stop: whether the program was asked to end.
        workers: that share the batches out, as the feed does.

    Raises:
        Stopped: a signal came.
    """
    logits = []
    together = feed.batch_size * workers.count
    nothing = tf.zeros((feed.batch_size, feed.columns))
    mine = prefetched(lambda batch: step(batch.features), feed, *[threads()] * 2)
    with workers.in_step(), bar("evaluating", feed.examples, "images") as advance:
        for start in range(0, feed.examples, together):
            fault_points.point("evaluation")
            stop.raise_if_requested()
            found = next(mine, nothing)  # the last batches may all be others'
            rows = workers.gather(tf.reshape(found, [-1]))
            logits.append(tf.reshape(rows, [together, -1]))
            advance(min(together, feed.examples - start))
    all_labels, all_logits = feed.labels, np.concatenate(logits)[: feed.examples]
    predicted, probabilities = answers(all_logits)
    targets = one_hot_targets(all_labels, probabilities.shape[1])
    losses = cross_entropy(all_logits, targets)
    loss = float(np.mean(losses, dtype=np.float64))
    return Evaluation(loss, all_labels, predicted, probabilities)
