"""An exponential moving average of the trained weights, for evaluation and use."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


class Averages(tf.Module):
    """Averages of variables: after each update `average += (1 - decay) * (variable - average)`.

    They begin as the variables are when this is made, and are saved by `tf.train.Checkpoint`.

    Neither library's own does this. Keras' `use_ema` averages inside `optimizer.apply`, before the
    changes are scaled layer by layer (`lib.training.optimizers.apply_scaled`), begins with the
    weights after the first update, and cannot be put in for an evaluation and taken out again.
    `tf.train.ExponentialMovingAverage` is not trackable by a checkpoint.

    Args:
        variables: what is trained.
        decay: the part of the average that an update keeps, from 0 to 1.

    Attributes:
        averages: one variable for each of `variables`, in the same order.
    """

    def __init__(self, variables: Sequence[keras.Variable | tf.Variable], decay: float):
        super().__init__()
        # As an attribute they would be tracked, and be in the checkpoint under a second name.
        self._trained = lambda: variables
        self._decay = decay
        self.averages = [tf.Variable(_value(each), trainable=False) for each in variables]

    def update(self) -> None:
        """Moves the averages towards the variables; to be called after the optimizer's update."""
        for average, variable in self._pairs():
            average.assign_add((1.0 - self._decay) * (_value(variable) - average))

    def overwrite(self) -> None:
        """Puts the averages into the variables, whose values are lost."""
        for average, variable in self._pairs():
            variable.assign(average)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Puts the averages into the variables; the trained values come back bit for bit."""
        trained = [variable.numpy() for variable in self._trained()]
        try:
            self.overwrite()
            yield
        finally:
            for variable, value in zip(self._trained(), trained, strict=True):
                variable.assign(value)

    def _pairs(self) -> Iterator[tuple[tf.Variable, keras.Variable | tf.Variable]]:
        return zip(self.averages, self._trained(), strict=True)


def _value(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    return tf.convert_to_tensor(variable)
