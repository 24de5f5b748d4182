"""The optimizer of a phase: any of Keras', by name, with its learning rate over time."""

import difflib
import inspect

import keras

from lib.config import Phase
from lib.errors import UserError

Rate = float | keras.optimizers.schedules.LearningRateSchedule

WARM_UP = 0.1  # part of a phase with a cosine schedule


def build_optimizer(phase: Phase, rate: Rate) -> keras.optimizers.Optimizer:
    """A fresh optimizer, with no memory of an earlier phase.

    Args:
        phase: names the optimizer.
        rate: its learning rate, see `learning_rate`.

    Raises:
        UserError: Keras has no optimizer of that name.
    """
    known = names()
    if phase.optimizer.lower() not in known:
        near = difflib.get_close_matches(phase.optimizer.lower(), known, n=3)
        raise UserError(
            f"--{phase.name}_optimizer={phase.optimizer}: Keras has no optimizer of that name;"
            f" {'did you mean' if near else 'expected one of'} {', '.join(near or known)}"
        )
    return known[phase.optimizer.lower()](learning_rate=rate)


def learning_rate(phase: Phase, steps: int) -> Rate:
    """The rate of a phase of so many steps: a number, or a function of the updates made in it.

    The cosine is that of Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
    restarts", 2017, without restarts.
    """
    if phase.schedule == "constant":
        return phase.learning_rate
    warm_up = round(WARM_UP * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm_up else phase.learning_rate,
        decay_steps=max(1, steps - warm_up),
        warmup_target=phase.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )


def names() -> dict[str, type[keras.optimizers.Optimizer]]:
    """Keras' optimizers that work on their own, by their names in lower case."""
    return {
        name.lower(): kind
        for name, kind in vars(keras.optimizers).items()
        if inspect.isclass(kind)
        and issubclass(kind, keras.optimizers.Optimizer)
        and kind is not keras.optimizers.Optimizer
        and {"learning_rate"} <= set(inspect.signature(kind).parameters)
        # Keras 3.12, the last for Python 3.10, gives it a variable without the name it asks for.
        and not (name == "Muon" and keras.__version__.startswith("3.12."))
    }
