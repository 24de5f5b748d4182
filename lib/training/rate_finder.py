"""The learning-rate range test: how the loss answers to a rate that rises from step to step.

A phase is trained for a hundred steps or so, its rate rising exponentially, and the loss is written
down. A rate at which it falls the fastest is a good one to train with (Smith, "Cyclical Learning
Rates for Training Neural Networks", 2017, section 3.3). All is done on a copy of the weights in
memory: nothing of the run changes.
"""

import dataclasses
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lib.config import Config, Phase, setting
from lib.data.dataset import Dataset
from lib.errors import UserError
from lib.model.network import Network
from lib.runs.resume import finished_phase, load_network
from lib.runs.state import State
from lib.system.progress import bar
from lib.training.build import build_feed, build_learner, weights_of_classes
from lib.training.steps import make_train_step
from lib.training.stopping import StopRequest

LOWEST, HIGHEST = 1e-7, 10.0
STEPS = 100
_MEMORY = 0.9  # of the moving average by which the loss is smoothed
_DIVERGED = 4.0  # times the lowest loss: from there on it only gets worse


@dataclasses.dataclass(frozen=True)
class RateTest:
    """How the loss went as the rate rose.

    Attributes:
        rates: float64 [n], the rate of each step.
        losses: float64 [n], smoothed.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """The middle of the tenfold rise of the rate in which the loss fell the most.

        To two digits. Over less than that, chance would decide: a batch is easier than another.

        Raises:
            UserError: it never fell.
        """
        decade = round((STEPS - 1) / math.log10(HIGHEST / LOWEST))
        lowest = int(np.argmin(self.losses))
        # Beyond the lowest loss it only swings, unless that was an easy batch at the beginning.
        until = lowest + 1 if lowest >= decade else len(self.losses)
        width = min(decade, until - 1)
        falls = self.losses[: until - width] - self.losses[width:until]
        if width < 1 or falls.max() <= 0:
            raise UserError("the loss did not fall at any rate, so that there is none to suggest")
        first = int(np.argmax(falls))
        return float(f"{math.sqrt(self.rates[first] * self.rates[first + width]):.1e}")


class _Rising(keras.optimizers.schedules.LearningRateSchedule):
    """Rises exponentially from the lowest to the highest rate."""

    def __call__(self, step):
        share = tf.cast(step, tf.float32) / (STEPS - 1)
        return LOWEST * (HIGHEST / LOWEST) ** share

    def get_config(self):
        """What Keras saves of it."""
        return {}


def smoothed(losses: np.ndarray) -> np.ndarray:
    """The exponential moving average of losses, float64 [n], without its bias to the first."""
    average, result = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = _MEMORY * average + (1.0 - _MEMORY) * loss
        result.append(average / (1.0 - _MEMORY**count))
    return np.array(result)


def load_beginning(network: Network, config: Config, phase: Phase, folder: Path) -> None:
    """Gives a network the weights with which a phase begins.

    Args:
        network: with those that the first phase begins with.
        config: what the run is.
        phase: of the run.
        folder: of the run.

    Raises:
        UserError: the phase before it is not finished.
    """
    names = [each.name for each in config.phases if each.epochs]
    before = names[: names.index(phase.name)] if phase.name in names else names
    if before:
        path = finished_phase(folder, before[-1]).newest_good(set_aside=False)
        if path is None:
            raise UserError(
                f"{setting('find_rate', phase.name)}: the run in {folder} has not finished the"
                f" phase before it, {before[-1]}: train it first, with"
                f" {setting('phase', before[-1])}"
            )
        load_network(path, network)


def find_rate(
    config: Config, phase: Phase, network: Network, dataset: Dataset, stop: StopRequest
) -> RateTest:
    """Trains a network with a rising rate, until the loss has gone up for good.

    Args:
        config: what the run is.
        phase: whose optimizer and thawed layers are tried.
        network: with the weights that the phase begins with; they are lost.
        dataset: what is trained on.
        stop: whether the program is asked to end.

    Raises:
        Stopped: it was.
        UserError: the configuration cannot be trained.
    """
    config = dataclasses.replace(config, ema=0.0)
    weights = weights_of_classes(config, dataset)
    learner = build_learner(config, phase, network, _Rising(), weights)
    state = State()
    train_step = make_train_step(learner, state)
    rates, losses = [], []
    with bar(f"trying rates for {phase.name}", STEPS, "steps") as advance:
        for step, batch in enumerate(build_feed(config, dataset.train, learner).batches(0, STEPS)):
            measurements = train_step(batch, step)
            if int(state.failed_step) >= 0:
                break
            rates.append(float(measurements["learning_rate"]))
            losses.append(float(measurements["loss"]))
            course = smoothed(np.array(losses))
            if course[-1] > _DIVERGED * course.min():
                break
            advance(1)
            stop.raise_if_requested()
    return RateTest(np.array(rates), smoothed(np.array(losses)))
