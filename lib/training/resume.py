"""Where a run goes on from, and whether it may."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from lib.config import OF_FINETUNE, Config
from lib.errors import UserError
from lib.model.freezing import layer_index
from lib.model.network import Network
from lib.run_folder import require_same
from lib.training.checkpoints import Checkpoints
from lib.training.optimizers import build_optimizer
from lib.training.state import State


def require_possible(config: Config, backbone: keras.Model) -> None:
    """Finds out before the long work whether both phases can be trained as asked.

    Raises:
        UserError: there is no such optimizer or layer.
    """
    for phase in (config.head, config.finetune):
        build_optimizer(phase, phase.learning_rate)
    layer_index(backbone, config.fine_tune_at)


def restore(
    network: Network, state: State, checkpoints: Checkpoints, heads: Checkpoints
) -> Path | None:
    """Brings weights and state to where the run stands, and says which checkpoint that is.

    In this order:
      1. the newest good checkpoint of the run;
      2. else, the head that it has finished;
      3. else, the pretrained weights, which the network has already.

    Returns:
        The checkpoint, which also holds the phase's optimizer in the first case; None in the third.
    """
    path = checkpoints.newest_good() or heads.newest_good()
    if path is not None:
        checkpoint = tf.train.Checkpoint(model=network.model, state=state)
        checkpoint.restore(str(path)).expect_partial().assert_existing_objects_matched()
    return path


def require_continuable(
    folder: Path, config: Config, flags_before: dict[str, Any], state: State
) -> None:
    """Whether what is asked for goes on from what was trained as if it had been asked for at once.

    Args:
        folder: of the run.
        config: what is asked for now.
        flags_before: what was asked for at the last start.
        state: what is done.

    Raises:
        UserError: it does not.
    """
    begun = state.phase.numpy().decode()
    flags_now = config.to_json()
    if begun == "finetune":
        require_same(folder, flags_before, {name: flags_now[name] for name in OF_FINETUNE})
    for phase in (config.head, config.finetune):
        done = state.journal.epochs_of(phase.name)
        flag = f"--{phase.name}_epochs"
        before = flags_before[f"{phase.name}_epochs"]
        if phase.epochs < done:
            raise UserError(
                f"{flag}={phase.epochs}: {done} epochs of that phase are trained already; give as"
                " many or more, or another --workdir"
            )
        if phase.name == "head" and begun == "finetune" and phase.epochs != done:
            raise UserError(
                f"{flag}={phase.epochs}: fine-tuning has begun on a head of {done} epochs; give"
                f" {flag}={done}, or another --workdir"
            )
        if phase.schedule != "constant" and begun == phase.name and phase.epochs != before:
            raise UserError(
                f"{flag}={phase.epochs}: the phase has begun with a {phase.schedule} schedule over"
                f" {before} epochs; give {flag}={before}, or another --workdir"
            )
