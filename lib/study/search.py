"""The search over a space, by Optuna: which point is next, and which is given up.

What is next is a function of the study's seed, of the number of the trial, and of what the trials
before it came to: Optuna's sampler is made anew for each, over a study in memory that holds these
and no others. So a study that was killed goes on as if it had not been. With several runs side by
side a trial knows what those up to `jobs` before it came to, whatever ended first.
"""

import contextlib
import hashlib
import logging
import secrets
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from lib.config import setting
from lib.errors import UserError
from lib.study.plan import Plan
from lib.study.processes import held
from lib.study.space import Choice, Space

_DATABASE = "trials.sqlite3"
_HEARTBEAT = 20  # seconds between two signs of life of a trial
_GRACE = 60  # seconds without one after which its worker counts as dead
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_PREPARES = "prepares"
_SURPLUS = "surplus"  # of a trial that two processes made at the same moment
_WORKER, _ERROR, _PRUNED_AT = "worker", "error", "pruned_at"
_KNOWN, _WEIGHTS = "known", "weights"
_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "waiting",
}

# Heartbeats and the handing on of trials are marked as experimental; requirements.txt pins Optuna.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)
for _name in ("optuna", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def shown_url(url: str) -> str:
    """A storage as it may be written down: without its password.

    Raises:
        UserError: it is no URL of a database.
    """
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError as error:
        raise UserError(
            f"{setting('storage', url)} is no URL of a database; expected such as"
            " postgresql+psycopg://user@host/name"
        ) from error


class Search:
    """The trials of a study, in a storage that several processes and machines may share.

    Args:
        study: the folder.
        plan: what the study is.
        space: what is searched.
        url: of the storage; empty for a file in the folder.

    Raises:
        UserError: the storage cannot be used, or holds another study of this name.
    """

    def __init__(self, study: Path, plan: Plan, space: Space, url: str = ""):
        self._plan, self._space = plan, space
        self._own_file = not url
        self._beaten: dict[int, float] = {}
        self._folder = study
        # Of several processes that begin a study at once, one after the other makes its tables.
        opening = held(study / "claims" / "open.lock", wait=True)
        with storage_errors(url or str(study / _DATABASE)), opening:
            self._storage = _storage(url or f"sqlite:///{study / _DATABASE}")
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=study.name,
                sampler=_Repeatable(self._proposal),
                direction="maximize" if plan.larger_is_better else "minimize",
                load_if_exists=True,
            )
            self._require_same(url or str(study / _DATABASE))

    def _require_same(self, place: str) -> None:
        """Makes sure that the trials in the storage are of this study."""
        names = ("seeds", "folds", "space", "objective", "prune", "share", "jobs")
        plan = {name: getattr(self._plan, name) for name in names}
        before = self._study.user_attrs.get("plan")
        if before is None:
            self._study.set_user_attr("plan", plan)
        elif before != plan:
            changed = [name for name in names if before.get(name) != plan[name]]
            raise UserError(
                f"{place} holds another study of this name, which differs in {', '.join(changed)}:"
                f" give another {setting('study')}"
            )

    def prepare(self, count: int) -> None:
        """Makes the trials that there are to be, to be handed out one by one."""
        with held(self._folder / "claims" / "prepare.lock", wait=True):
            token = secrets.token_hex(8)
            if not self._own_file and not self.trials():
                # Of several machines that begin a study at once, one makes its trials: the last
                # that has said it will.
                self._study.set_user_attr(_PREPARES, token)
                time.sleep(2.0)
                if self._study.user_attrs[_PREPARES] != token:
                    for _ in range(100):
                        if len(self.trials()) >= count:
                            return
                        time.sleep(0.1)
            for _ in range(count - len(self.trials())):
                self._study.enqueue_trial({})

    def trials(self) -> list[FrozenTrial]:
        """All trials by number, those that were handed on by what they were handed on as."""
        found = self._study.get_trials(deepcopy=False)
        handed_on = {
            number
            for each in found
            for number in RetryHeartbeatStaleTrialCallback.retry_history(each)
        }
        return sorted(
            (
                each
                for each in found
                if each.number not in handed_on and _SURPLUS not in each.user_attrs
            ),
            key=number_of,
        )

    def next_number(self) -> int | None:
        """The number of the trial that is next to be begun; None where there is none left."""
        waiting = [trial for trial in self.trials() if trial.state == TrialState.WAITING]
        # Optuna hands them out in this order: one that was handed on comes last.
        first = min(waiting, key=lambda trial: trial.number, default=None)
        return None if first is None else number_of(first)

    def begin(self) -> FrozenTrial | None:
        """Takes the next trial; None where another process was faster."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of heartbeats without `Study.optimize`: they are ours
            trial = self._study.ask()
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        if "fixed_params" not in frozen.system_attrs:  # there was none, and Optuna made one more
            trial.set_user_attr(_SURPLUS, True)
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        return frozen

    def orphans(self, is_claimed: Callable[[int], bool | None]) -> list[FrozenTrial]:
        """Trials that a process on this disk has begun, and left when it was killed.

        Args:
            is_claimed: whether a process works on the trial of a number; None where no process on
                this disk ever has.
        """
        left = []
        for trial in self.trials():
            if trial.state != TrialState.RUNNING:
                continue
            claimed = is_claimed(number_of(trial))
            if claimed is None:  # killed before it could be claimed, or on another disk
                began = trial.datetime_start.timestamp() if trial.datetime_start else 0
                old = time.time() - began > _GRACE
                claimed = not (self._own_file or (old and _WORKER not in trial.user_attrs))
            if not claimed:
                left.append(trial)
        return left

    def others_at_work(self) -> bool:
        """Whether trials are in the hands of other processes; those of dead ones are handed on."""
        fail_stale_trials(self._study)
        return any(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in self.trials())

    def values(self, frozen: FrozenTrial) -> dict[str, Any]:
        """The values of a trial, chosen and written down where they are not yet."""
        trial = optuna.Trial(self._study, frozen._trial_id)
        trial.set_user_attr(_WORKER, socket.gethostname())
        self.keep_alive(frozen)
        found = {}
        for name, each in self._space.items():
            if isinstance(each, Choice):
                found[name] = trial.suggest_categorical(name, each.values)
            elif each.whole:
                found[name] = trial.suggest_int(name, each.low, each.high, log=each.log)
            else:
                found[name] = trial.suggest_float(name, each.low, each.high, log=each.log)
        return found

    def keep_alive(self, frozen: FrozenTrial) -> None:
        """Gives a sign of life, where the last one is some time ago."""
        now = time.monotonic()
        if now - self._beaten.get(frozen._trial_id, -_HEARTBEAT) >= _HEARTBEAT:
            self._beaten[frozen._trial_id] = now
            self._storage.record_heartbeat(frozen._trial_id)

    def report(self, frozen: FrozenTrial, reported: Mapping[int, float]) -> bool:
        """Writes down how a trial goes, and says whether it is to be given up.

        Args:
            frozen: the trial.
            reported: what was measured so far, by step; the last one is new.
        """
        step, value = list(reported.items())[-1]
        with _handed_on():
            self._storage.set_trial_intermediate_value(frozen._trial_id, step, value)
        if not self._plan.prune:
            return False
        number = number_of(frozen)
        so_far = optuna.trial.create_trial(
            state=TrialState.RUNNING, intermediate_values=dict(reported)
        )
        pruner = optuna.pruners.MedianPruner()
        return pruner.prune(self._memory(number, optuna.samplers.RandomSampler(seed=0)), so_far)

    def complete(
        self, frozen: FrozenTrial, known: Mapping[str, Sequence[float]], weights: str = ""
    ) -> None:
        """Writes down what a trial came to.

        Args:
            frozen: the trial.
            known: each objective of each of its runs; the mean of the study's is its rating.
            weights: the digest of the first run's.
        """
        ratings = known[self._plan.objective]
        found = {_KNOWN: {name: list(each) for name, each in known.items()}, _WEIGHTS: weights}
        self._tell(frozen, TrialState.COMPLETE, sum(ratings) / len(ratings), found)

    def prune(self, frozen: FrozenTrial, where: str) -> None:
        """Writes down that a trial was given up, and after which epoch."""
        value = list(self._storage.get_trial(frozen._trial_id).intermediate_values.values())[-1]
        self._tell(frozen, TrialState.PRUNED, value, {_PRUNED_AT: where})

    def fail(self, frozen: FrozenTrial, error: str) -> None:
        """Writes down with which error a trial failed."""
        self._tell(frozen, TrialState.FAIL, None, {_ERROR: error[:2000]})

    def importances(self) -> dict[str, float]:
        """How much of what the trials differ by is due to each flag, if they are enough to say.

        PED-ANOVA: S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: efficiently quantifying
        hyperparameter importance in arbitrary subspaces", IJCAI 2023.
        """
        complete = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        if len(complete) < 4 or len({t.value for t in complete}) < 2:
            return {}
        memory = optuna.create_study(direction=self._study.direction.name.lower())
        memory.add_trials(complete)
        found = optuna.importance.get_param_importances(
            memory, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
        return {name: float(share) for name, share in found.items()}

    def _tell(
        self, frozen: FrozenTrial, state: TrialState, value: float | None, found: Mapping[str, Any]
    ) -> None:
        with _handed_on():
            for name, each in found.items():
                self._storage.set_trial_user_attr(frozen._trial_id, name, each)
            values = None if value is None else [value]
            self._storage.set_trial_state_values(frozen._trial_id, state, values)

    def _proposal(self, number: int) -> dict[str, Any]:
        """The values of the trial of a number."""
        seed = f"{self._plan.flags['seed']}/{number}"
        digest = hashlib.sha256(seed.encode()).digest()
        sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "little"))
        trial = self._memory(number, sampler).ask(_distributions(self._space))
        return trial.params

    def _memory(self, number: int, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """A study in memory that holds what the trial of a number may know."""
        study = optuna.create_study(sampler=sampler, direction=self._study.direction.name.lower())
        study.add_trials(
            [
                each
                for each in self.trials()
                if each.state in _FINISHED and number_of(each) <= number - self._plan.jobs
            ]
        )
        return study


def _handed_on() -> contextlib.AbstractContextManager:
    """For what is written of a trial: nothing, where it ended elsewhere.

    It was handed on, as this process gave no sign of life for long: it was suspended.
    """
    return contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError)


def _storage(url: str) -> RDBStorage:
    """Opens a storage, which is made where it is missing.

    Two machines that make it at the same moment, each with a folder of its own, may be in each
    other's way, so it is tried again.
    """
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    attempt = 1
    while True:
        try:
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=_HEARTBEAT,
                grace_period=_GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        except (IntegrityError, ProgrammingError):
            if attempt == 5:
                raise
        attempt += 1
        time.sleep(1.0)


def number_of(trial: FrozenTrial) -> int:
    """The number of a trial; of one that was handed on, that of the first."""
    original = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if original is None else original


def described(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as it stands, for a file."""
    attributes = trial.user_attrs
    state = _STATES[trial.state]
    return {
        "number": number_of(trial),
        "values": dict(trial.params),
        "state": state,
        "rating": trial.value if state == "finished" else None,
        "known": attributes.get(_KNOWN, {}),
        "weights": attributes.get(_WEIGHTS, ""),
        "error": attributes.get(_ERROR, "it failed") if state == "failed" else "",
        "pruned_at": attributes.get(_PRUNED_AT, ""),
    }


class _Repeatable(optuna.samplers.BaseSampler):
    """Gives each trial the values that its number decides."""

    def __init__(self, proposal: Callable[[int], dict[str, Any]]):
        self._proposal = proposal
        self._found: dict[int, dict[str, Any]] = {}

    def infer_relative_search_space(self, study, trial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study, trial, search_space) -> dict[str, Any]:
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution) -> Any:
        number = number_of(trial)
        if number not in self._found:
            self._found[number] = self._proposal(number)
        return self._found[number][param_name]


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for name, each in space.items():
        if isinstance(each, Choice):
            found[name] = CategoricalDistribution(each.values)
        elif each.whole:
            found[name] = IntDistribution(int(each.low), int(each.high), log=each.log)
        else:
            found[name] = FloatDistribution(each.low, each.high, log=each.log)
    return found


@contextlib.contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Says of a storage that cannot be used what is wrong with it, on one line.

    Raises:
        UserError: it cannot be used.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{setting('storage')}: {error}; install the driver of that database, such as"
            " psycopg[binary] for postgresql+psycopg://"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        said = str(getattr(cause, "orig", None) or cause).strip().splitlines()
        raise UserError(
            f"{place} cannot be used ({said[0] if said else type(error).__name__}): make room, or"
            " see that the database can be reached; the same command then goes on"
        ) from error
