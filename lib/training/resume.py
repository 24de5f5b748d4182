"""Where a run goes on from, and whether it may."""

import dataclasses
from pathlib import Path

from lib.config import Config, Phase, setting
from lib.errors import UserError
from lib.model.network import Network, weights_sha256
from lib.run_folder import Saved, saved
from lib.training.checkpoints import Checkpoints, load_checkpoint
from lib.training.early_stopping import epochs_of, is_finished
from lib.training.state import State


def finished_phase(folder: Path, name: str) -> Checkpoints:
    """The state at the end of a phase of the run in a folder."""
    return Checkpoints(folder / "phases" / name, keep=1)


def restore(network: Network, state: State, folder: Path, config: Config) -> Path | None:
    """Brings weights and state to where the run stands, and says which checkpoint that is.

    In this order:
      1. the newest good checkpoint of the run;
      2. else, the last of its phases that is finished;
      3. else, the network of `from_run`, which `other_run` brings;
      4. else, the pretrained weights, which the network has already.

    Args:
        network: to be given the weights.
        state: to be moved on.
        folder: of the run.
        config: of the run at its last start.

    Returns:
        The checkpoint, which also holds the optimizer of the phase in the first two cases; None in
        the last two.
    """
    path = Checkpoints(folder / "checkpoints", config.keep_checkpoints).newest_good()
    for phase in reversed(config.phases):
        path = path or finished_phase(folder, phase.name).newest_good()
    if path is not None:
        load_checkpoint(path, model=network.model, state=state)
    return path


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
    received = setting("from_run", config.from_run)
    asked = (config.from_run, config.from_phase)
    own = Checkpoints(Path(config.workdir) / "checkpoints", config.keep_checkpoints)
    if before and (before.flags["from_run"], before.flags["from_phase"]) == asked and own.exist():
        # The run has taken the network over: the other run may be gone by now.
        return {"from_sha256": before.facts["from_sha256"]}
    source = require_other(config)
    other = saved(source)
    mine = {"classes": classes, "alpha": config.alpha, "image_size": config.image_size}
    theirs = {name: (other.facts | other.flags).get(name) for name in mine}
    for name, value in mine.items():
        if theirs[name] != value:
            raise UserError(
                f"{received} has {name} {theirs[name]}, and this run {value}: they must be the same"
                " for its network to fit; give another run, or train that phase here"
            )
    path = finished_phase(source, config.from_phase).newest_good(set_aside=False)
    load_checkpoint(path, model=network.model)
    return {"from_sha256": weights_sha256(network.model.variables)}


def require_other(config: Config) -> Path:
    """The folder of the run that `from_run` names.

    Raises:
        UserError: there is none, it is this very run, or it has not finished the phase.
    """
    source, received = Path(config.from_run), setting("from_run", config.from_run)
    if source.resolve() == Path(config.workdir).resolve():
        raise UserError(
            f"{received} is this run's own {setting('workdir')}; give another of the two"
        )
    other = saved(source)
    if other is None:
        raise UserError(f"{received} holds no run; give the folder of one")
    if not finished_phase(source, config.from_phase).exist():
        names = [phase.name for phase in other.config.phases]
        finished = [name for name in names if finished_phase(source, name).exist()]
        raise UserError(
            f"{received} has not finished its phase {config.from_phase!r}"
            f" (finished: {', '.join(finished) or 'none'}): train it first, with"
            f" {setting('workdir', source)} {setting('phase', config.from_phase)}, or give another"
            f" as {setting('from_phase')}"
        )
    return source


def require_continuable(folder: Path, config: Config, before: Config, state: State) -> None:
    """Whether what is asked for goes on from what was trained as if it had been asked for at once.

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
    """Whether a phase that has begun may have another number of epochs than it had."""
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
