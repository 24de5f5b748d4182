"""Resumes a run: finds what it goes on from, and checks whether it may."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from lib.config import Config, Phase, backbone_file, setting
from lib.errors import UserError
from lib.model.architecture import refresh
from lib.model.network import Network, weights_sha256
from lib.runs.checkpoints import Checkpoints, load_checkpoint, names_in
from lib.runs.early_stopping import epochs_of, is_finished
from lib.runs.folder import Saved, of_another_version, saved
from lib.runs.state import State


def finished_phase(folder: Path, name: str) -> Checkpoints:
    """The state at the end of a phase of the run in a folder."""
    return Checkpoints(folder / "phases" / name, keep=1)


def newest(folder: Path, config: Config, set_aside: bool = True) -> Path | None:
    """The checkpoint that a run goes on from, without suffix; None where it has none.

    It is the newest good one, else that at the end of the last phase that is finished.

    Args:
        folder: of the run.
        config: of the run at its last start.
        set_aside: whether damaged ones are, see `Checkpoints.newest_good`.
    """
    path = Checkpoints(folder / "checkpoints", config.keep_checkpoints).newest_good(set_aside)
    for phase in reversed(config.phases):
        path = path or finished_phase(folder, phase.name).newest_good(set_aside)
    return path


def restore(network: Network, state: State, folder: Path, before: Saved) -> Path | None:
    """Brings weights and state to where the run stands, and says which checkpoint that is.

    In this order:
      1. the newest good checkpoint of the run;
      2. else, the last of its phases that is finished;
      3. else, the network of `from_run`, which `other_run` brings;
      4. else, the pretrained weights, which the network has already.

    Args:
        network: to be given the weights.
        state: to be brought to where the run stands.
        folder: of the run.
        before: the run at its last start.

    Returns:
        The checkpoint, which also holds the optimizer of the phase in the first two cases; None in
        the last two.

    Raises:
        UserError: it is of another version.
    """
    path = newest(folder, before.config)
    if path is not None:
        load_network(path, network)
        load_state(path, state, before.made_by)
    return path


def load_state(path: Path, state: State, made_by: Mapping[str, Any]) -> None:
    """Brings the state to what a checkpoint holds of it.

    Args:
        path: of the checkpoint, without suffix.
        state: of a run.
        made_by: what the checkpoint's run was made by; see `lib.runs.folder.Saved`.

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


def other_run(
    network: Network,
    config: Config,
    classes: list[str],
    before: Saved | None,
) -> dict[str, str | None]:
    """Gives a run that begins the network with which a phase of another run ended.

    Args:
        network: to be given the weights.
        config: says in `from_run` and `from_phase` which these are, if any.
        classes: of this run.
        before: what this run was at its last start; None for a new one.

    Returns:
        What identifies the network: the digest of its weights.

    Raises:
        UserError: that run has not finished that phase, or its network does not fit.
    """
    if config.from_run is None:
        return {"from_sha256": None}
    path = find_other(config, classes, before)
    if path is None:
        return {"from_sha256": before.facts["from_sha256"]}
    load_network(path, network)
    return {"from_sha256": weights_sha256(network.model.variables)}


# What two runs must have in common for one to take over the network of the other.
_OF_A_NETWORK = ("backbone", "scaling", "alpha", "image_size")


def load_network(path: Path, network: Network) -> None:
    """Gives a network the weights in a checkpoint.

    Args:
        path: of the checkpoint, without suffix.
        network: of the same kind.
    """
    load_checkpoint(path, model=network.model)
    refresh(network.backbone)


def find_other(config: Config, classes: list[str], before: Saved | None) -> Path | None:
    """The checkpoint of another run that a run begins with.

    Args:
        config: says in `from_run` and `from_phase` which that is, if any.
        classes: of this run.
        before: what this run was at its last start; None for a new one.

    Returns:
        Its path, without suffix; None where none is needed, or no more.

    Raises:
        UserError: that run has not finished that phase, or its network does not fit.
    """
    if config.from_run is None:
        return None
    asked = (config.from_run, config.from_phase)
    own = Checkpoints(Path(config.workdir) / "checkpoints", config.keep_checkpoints)
    if before and (before.flags["from_run"], before.flags["from_phase"]) == asked and own.exist():
        return None  # The run has taken the network over: the other run may be gone by now.
    source, received = Path(config.from_run), setting("from_run", config.from_run)
    if source.resolve() == Path(config.workdir).resolve():
        raise UserError(
            f"{received} is this run's own {setting('workdir')}; give another of the two"
        )
    other = saved(source)
    if other is None:
        raise UserError(f"{received} holds no run; give the folder of one")
    mine = {"classes": classes, **{name: getattr(config, name) for name in _OF_A_NETWORK}}
    theirs = {name: (other.facts | other.flags).get(name) for name in mine}
    if all(backbone_file(each["backbone"]) for each in (mine, theirs)):
        theirs["backbone"] = mine["backbone"]  # it is that run's network that is taken
    for name, value in mine.items():
        if theirs[name] != value:
            raise UserError(
                f"{received} has {name} {theirs[name]}, and this run {value}: they must be the same"
                " for its network to fit; give another run, or train that phase here"
            )
    path = finished_phase(source, config.from_phase).newest_good(set_aside=False)
    if path is None:
        names = [phase.name for phase in other.config.phases]
        finished = [name for name in names if finished_phase(source, name).exist()]
        raise UserError(
            f"{received} has not finished its phase {config.from_phase!r}"
            f" (finished: {', '.join(finished) or 'none'}): train it first, with"
            f" {setting('workdir', source)} {setting('phase', config.from_phase)}, or give another"
            f" as {setting('from_phase')}"
        )
    return path


def require_same_phases(folder: Path, config: Config, before: Saved) -> bool:
    """Makes sure, early, that the phases that have begun are those that are asked for.

    Returns:
        Whether there is a checkpoint to go on from.

    Args:
        folder: of the run.
        config: what is asked for now.
        before: what the run was at its last start.

    Raises:
        UserError: they are not.
    """
    state, path = State(), newest(folder, before.config, set_aside=False)
    if path is not None:
        load_state(path, state, before.made_by)
        require_continuable(folder, config, before.config, state)
    return path is not None


def require_continuable(folder: Path, config: Config, before: Config, state: State) -> None:
    """Makes sure that a run can go on as if this configuration had been asked for from the start.

    Phases that have begun must be as they were, but that the last of them may get more epochs
    where nothing in it depends on their number; those that have not may be changed, added, dropped.

    Args:
        folder: of the run.
        config: what is asked for now.
        before: what was asked for at the last start.
        state: what is done.

    Raises:
        UserError: it does not.
    """
    names = [phase.name for phase in before.phases]
    begun = before.phases[: names.index(state.phase_name) + 1] if state.phase_name in names else ()
    asked = config.phases[: len(begun)]
    if [phase.name for phase in asked] != [phase.name for phase in begun]:
        received = setting("phases", ",".join(phase.name for phase in config.phases))
        raise UserError(
            f"{received}: the run in {folder} has begun with"
            f" {', '.join(phase.name for phase in begun)}; give these first, or another"
            f" {setting('workdir')}"
        )
    for old, new in zip(begun, asked, strict=True):
        _require_same_phase(folder, old, new)
        if new.epochs != old.epochs:
            _require_extendable(old, new, old is begun[-1], state)


def _require_same_phase(folder: Path, old: Phase, new: Phase) -> None:
    for field in dataclasses.fields(Phase):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if field.name != "epochs" and before != now:
            flag = f"{old.name}_{field.name}"
            raise UserError(
                f"{setting('workdir', folder)} holds another run, which differs in {flag} ({before}"
                f" there, {now} now), and its phase {old.name} has begun: give"
                f" {setting(flag, before)}, or another {setting('workdir')}"
            )


def _require_extendable(old: Phase, new: Phase, newest: bool, state: State) -> None:
    """Makes sure that a phase that has begun may have another number of epochs."""
    history = state.journal.history
    done = len(epochs_of(old, history))
    received = setting(f"{new.name}_epochs", new.epochs)
    advice = f"give {setting(f'{new.name}_epochs', old.epochs)}, or another {setting('workdir')}"
    if new.epochs < done:
        raise UserError(
            f"{received}: {done} epochs of that phase are trained already; give as many or more, or"
            f" another {setting('workdir')}"
        )
    if not newest and new.epochs != done:
        raise UserError(
            f"{received}: the phase after it has begun on {done} epochs of it; {advice}"
        )
    if old.schedule != "constant":
        raise UserError(
            f"{received}: the phase has begun with the schedule {old.schedule} over {old.epochs}"
            f" epochs; {advice}"
        )
    if is_finished(old, history) and (old.restore_best or done < old.epochs):
        raise UserError(f"{received}: the phase has ended with its best epoch; {advice}")
