"""What a phase trains, and by which rule."""

import dataclasses
from collections.abc import Sequence

import keras

from lib.model.engine import Engine
from lib.model.network import Network
from lib.training.averages import Averages
from lib.training.losses import Loss
from lib.training.optimizers import Rate
from lib.training.slices import WHOLE, Slices


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a phase trains, and by which rule.

    Attributes:
        network: whose head computes logits from pooled features.
        engine: computes pooled features from the features at the cut.
        variables: what is trained.
        optimizer: updates them.
        schedule: of its learning rate: a number, or a function of the number of updates.
        scales: the factor by which the update of each variable is multiplied.
        averages: of the variables, for evaluations; None where there are none.
        loss: of each example, float32 [n], from logits and targets.
        dropout: part of the pooled features dropped.
        seed: of the dropout masks.
        patience: steps in a row without an update that end training; 1 allows none.
        slices: of a batch, whose gradients are computed each by itself.
    """

    network: Network
    engine: Engine
    variables: Sequence[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    schedule: Rate
    scales: Sequence[float]
    averages: Averages | None
    loss: Loss
    dropout: float
    seed: int
    patience: int = 1
    slices: Slices = WHOLE
