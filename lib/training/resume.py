"""Where a run goes on from, and whether it may."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from lib.config import OF_FINETUNE, Config
from lib.errors import UserError
from lib.model.freezing import layer_index
from lib.model.network import Network, weights_sha256
from lib.run_folder import Saved, of_another_version, require_same, saved
from lib.training.checkpoints import Checkpoints, load_checkpoint, names_in
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
    network: Network,
    state: State,
    checkpoints: Checkpoints,
    heads: Checkpoints,
    made_by: Mapping[str, Any],
) -> Path | None:
    """Brings weights and state to where the run stands, and says which checkpoint that is.

    In this order:
      1. the newest good checkpoint of the run;
      2. else, the head that it has finished;
      3. else, the head of `--from_run`, which `other_head` brings;
      4. else, the pretrained weights, which the network has already.

    Args:
        network: to be given the weights.
        state: to be brought to where the run stands.
        checkpoints: of the run.
        heads: that it has finished.
        made_by: what the run was made by; see `lib.run_folder.Saved`.

    Returns:
        The checkpoint, which also holds the phase's optimizer in the first case; None in the
        last two.

    Raises:
        UserError: it is of another version.
    """
    path = checkpoints.newest_good() or heads.newest_good()
    if path is not None:
        load_checkpoint(path, model=network.model)
        load_state(path, state, made_by)
    return path


def load_state(path: Path, state: State, made_by: Mapping[str, Any]) -> None:
    """Brings the state to what a checkpoint holds of it.

    Args:
        path: of the checkpoint, without suffix.
        state: of a run.
        made_by: what the checkpoint's run was made by; see `lib.run_folder.Saved`.

    Raises:
        UserError: the checkpoint was written by a version with another `State` or `Epoch`.
    """
    found = names_in(path, "state")
    expected = {name for name, value in vars(state).items() if isinstance(value, tf.Variable)}
    if found != expected:
        strange = [f"without {name}" for name in sorted(expected - found)]
        strange += [f"with {name}" for name in sorted(found - expected)]
        raise of_another_version(f"the checkpoint {path} has a state {', '.join(strange)}", made_by)
    load_checkpoint(path, state=state)
    try:
        _ = state.journal
    except (ValueError, TypeError, KeyError) as error:
        raise of_another_version(
            f"the checkpoint {path} has other epochs ({error})", made_by
        ) from error


def other_head(
    network: Network,
    config: Config,
    classes: list[str],
    before: Saved | None,
) -> dict[str, str | None]:
    """Gives a run that begins the network with which another run's head phase ended.

    Args:
        network: to be given the weights.
        config: says in `from_run` which run that is, if any.
        classes: of this run.
        before: what this run was at its last start; None for a new one.

    Returns:
        What identifies the head: the digest of the network's weights.

    Raises:
        UserError: that run has no finished head, or one that does not fit.
    """
    if config.from_run is None:
        return {"head_sha256": None}
    path = find_head(config, classes, before)
    if path is None:
        return {"head_sha256": before.facts["head_sha256"]}
    load_checkpoint(path, model=network.model)
    return {"head_sha256": weights_sha256(network.model.variables)}


def find_head(config: Config, classes: list[str], before: Saved | None) -> Path | None:
    """The head of another run that a run begins with.

    Args:
        config: says in `from_run` which run that is, if any.
        classes: of this run.
        before: what this run was at its last start; None for a new one.

    Returns:
        The path of its checkpoint, without suffix; None where no head is needed, or no more.

    Raises:
        UserError: that run has no finished head, or one that does not fit.
    """
    if config.from_run is None:
        return None
    own = Checkpoints(Path(config.workdir) / "checkpoints", config.keep_checkpoints)
    if before and before.flags["from_run"] == config.from_run and own.exist():
        return None  # The run has taken the head over: the other one may be gone by now.
    source = Path(config.from_run)
    if source.resolve() == Path(config.workdir).resolve():
        raise UserError(f"--from_run={source} is this run's own --workdir; give another of the two")
    other = saved(source)
    if other is None:
        raise UserError(f"--from_run={source} holds no run; give the folder of one")
    mine = {"classes": classes, "alpha": config.alpha, "image_size": config.image_size}
    theirs = {name: (other.facts | other.flags).get(name) for name in mine}
    for name, value in mine.items():
        if theirs[name] != value:
            raise UserError(
                f"--from_run={source} has {name} {theirs[name]}, and this run {value}: they must be"
                " the same for its head to fit; give another run, or train a head here"
            )
    path = Checkpoints(source / "head", keep=1).newest_good(set_aside=False)
    if path is None:
        raise UserError(
            f"--from_run={source} has no finished head: train it first, with --workdir={source}"
            " --phase=head"
        )
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
    begun = state.phase_name
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
