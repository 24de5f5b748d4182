"""Checks that the numbers of a run are finite."""

import math
from typing import NoReturn

import numpy as np

from lib.config import setting
from lib.errors import UserError
from lib.training.build import MOST_SKIPPED, BuiltPhase
from lib.training.evaluation import Evaluation


def require_finite(built: BuiltPhase) -> None:
    """Makes sure that every step could be taken.

    Raises:
        UserError: its loss or gradient was infinite or not a number.
    """
    failed = int(built.run.state.failed_step)
    if failed >= 0:
        skipping = built.run.config.skip_nonfinite
        often = f" {MOST_SKIPPED} times in a row, the last" if skipping else ""
        _fail(built, f"the loss or its gradient became infinite or not a number{often}", failed)


def require_sound(built: BuiltPhase, validation: Evaluation | None = None) -> None:
    """Makes sure that what is about to be saved is worth it: a finite update can overflow.

    Args:
        built: the phase.
        validation: how the network did, where that is known.

    Raises:
        UserError: a weight, a number of the optimizer, or the validation loss is not finite.
    """
    require_finite(built)
    step = int(built.run.state.step)
    for variable in (*built.learner.variables, *built.learner.optimizer.variables):
        if not np.all(np.isfinite(variable.numpy())):
            _fail(built, f"{variable.path} became infinite or not a number", step)
    if validation and not math.isfinite(validation.loss):
        _fail(built, "the validation loss became infinite or not a number", step)


def _fail(built: BuiltPhase, what: str, step: int) -> NoReturn:
    option = setting("skip_nonfinite")
    skip = "" if built.run.config.skip_nonfinite else f", or leave out such updates with {option}"
    raise UserError(
        f"{what} at step {step} (phase {built.phase.name}, learning rate"
        f" {built.phase.learning_rate:g}); nothing of it was saved, and the checkpoint before it"
        f" stays; lower the rate in another {setting('workdir')}{skip}"
    )
