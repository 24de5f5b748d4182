"""The configuration of a run: every choice that makes it this run and no other."""

import dataclasses
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.errors import UserError

SLICES = 2  # of a batch, where its size allows so many; four cost a tenth on two cores
RESERVED = ("evaluate", "start")  # words that stand for something else than a phase


@dataclasses.dataclass(frozen=True)
class Phase:
    """One stretch of training with an optimizer of its own; a field is a flag `--<name>_<field>`.

    Attributes:
        name: of the phase.
        epochs: how many passes over the training images, at most.
        thaw: what of the backbone is trained, see `lib.model.freezing.first_trained`.
        optimizer: spec of a Keras optimizer.
        learning_rate: its rate; the peak rate where the schedule is not constant.
        schedule: spec of the course of the learning rate.
        layer_decay: the updates of a block are scaled by this factor per block below the head.
        views: augmented views of each image that the epochs repeat in turn; 0: always new ones.
        patience: epochs without a lower validation loss after which it ends; 0: never.
        restore_best: whether it ends with the weights of its best epoch instead of the last.
    """

    name: str
    epochs: int = 10
    thaw: int | str = 100
    optimizer: str = "rmsprop"
    learning_rate: float = 1e-5
    schedule: str = "constant"
    layer_decay: float = 1.0
    views: int = 0
    patience: int = 0
    restore_best: bool = False


PHASE_FLAGS = tuple(f.name for f in dataclasses.fields(Phase) if f.name != "name")


def default_phase(name: str) -> Phase:
    """A phase as it is where no flag says otherwise; every one but the head is fine-tuning."""
    if name == "head":
        return Phase(name, thaw="none", optimizer="adam", learning_rate=1e-4)
    return Phase(name)


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a run; each field is a flag of the same name, and its default.

    Paths are strings, so that a configuration is plain JSON.
    """

    workdir: str = ""  # resolved to runs/<dataset> where empty
    seed: int = 0
    threads: int = 0  # resolved to all cores
    plugin: tuple[str, ...] = ()
    workers: int = 1
    worker_wait: int = 60
    exchange: str = "exact"

    dataset: str = "cats_and_dogs"
    data_dir: str = ""  # resolved to the per-user cache where empty
    dataset_url: str | None = None
    fold: str | None = None
    bad_images: str = "stop"
    train_limit: int | None = None
    eval_limit: int | None = None
    cache_mb: int = 8192
    memory_mb: int = 1024
    share_features: str | None = None

    batch_size: int = 32
    slices: int = 0  # resolved to the run's own number, for a new run to 2 or 1
    image_size: int = 160
    source_size: int | None = None  # image_size where it is not given
    augment: str = "flip|rotate(0.2)"

    backbone: str = "mobilenet_v2"
    scaling: str | None = None  # what a file of the user's takes; else the backbone's own
    weights: str = "imagenet"
    from_run: str | None = None
    from_phase: str = "head"
    alpha: float = 1.0
    dropout: float = 0.2
    head_init: str = "glorot_uniform"
    engine: str = "auto"

    loss: str = "cross_entropy"
    class_weights: str = "none"
    ema: float = 0.0
    phases: tuple[Phase, ...] = (default_phase("head"), default_phase("finetune"))

    checkpoint_every: int = 50
    keep_checkpoints: int = 3
    log_every: int = 10
    skip_nonfinite: bool = False
    histograms: bool = False

    @property
    def slices_in_use(self) -> int:
        """Into how many slices a batch is cut."""
        return self.slices or math.gcd(self.batch_size, SLICES)

    @property
    def source_size_in_use(self) -> int:
        """The side that images are resized to, in pixels; the network sees their middle."""
        return self.source_size or self.image_size

    @property
    def weights_in_use(self) -> str:
        """Which weights of it evaluations, predictions and exports take, in words."""
        return "averaged weights" if self.ema else "weights"

    def phase(self, name: str) -> Phase:
        """The phase of that name.

        Raises:
            KeyError: there is none.
        """
        return {phase.name: phase for phase in self.phases}[name]

    def with_flags(self, **flags: Any) -> "Config":
        """The same configuration but for some flags, by their names: `head_epochs=3`.

        Raises:
            ValueError: there are names that stand for nothing.
        """
        values = self.to_json()
        if "phases" in flags:  # of those that are no longer named, the flags go too
            dropped = set(values["phases"]) - set(flags["phases"])
            gone = {f"{phase}_{field}" for phase in dropped for field in PHASE_FLAGS}
            values = {name: value for name, value in values.items() if name not in gone}
        return Config.from_json(values | flags)

    def to_json(self) -> dict[str, Any]:
        """The configuration as a mapping of flag names to plain values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["plugin"] = list(self.plugin)
        values["phases"] = [phase.name for phase in self.phases]
        for phase in self.phases:
            values |= {f"{phase.name}_{name}": getattr(phase, name) for name in PHASE_FLAGS}
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The configuration that `to_json` gave; what is missing has its default.

        Raises:
            ValueError: there are names that stand for nothing.
        """
        names = values.get("phases", [phase.name for phase in Config.phases])
        flags_of = {name: {field: f"{name}_{field}" for field in PHASE_FLAGS} for name in names}
        phases = tuple(
            dataclasses.replace(
                default_phase(name),
                **{field: values[flag] for field, flag in flags.items() if flag in values},
            )
            for name, flags in flags_of.items()
        )
        of_phases = {flag for flags in flags_of.values() for flag in flags.values()}
        others = {name: value for name, value in values.items() if name not in of_phases}
        if unknown := others.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        plugin = tuple(values.get("plugin", ()))
        return cls(**others | {"phases": phases, "plugin": plugin})


def written(value: object) -> str:
    """A value of a configuration as it is given on a command line."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def not_default(flags: Mapping[str, Any]) -> dict[str, str]:
    """Which flags of a run are not as they are by default, and what they are.

    Args:
        flags: what `Config.to_json` gave.
    """
    default = Config.from_json({"phases": flags["phases"]}).to_json()
    default["phases"] = Config().to_json()["phases"]
    return {
        name: written(value)
        for name, value in flags.items()
        if value is not None and value != default.get(name)
    }


def setting(name: str, value: object = None) -> str:
    """How a setting is spelt where a person gives it, as `--name` or `--name=value`."""
    return f"--{name}" if value is None else f"--{name}={value}"


def fold_of(text: str | None) -> tuple[int, int] | None:
    """Which fold `--fold` names, counted from 1, and of how many; None where it names none.

    Raises:
        UserError: the text names no fold.
    """
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not (count >= 2 and 1 <= number <= count):
        raise UserError(
            f"{setting('fold', text)}: expected the number of a fold and how many there are, from"
            " 1/2 on, such as 2/5"
        )
    return number, count


def require_phase_names(names: Sequence[str]) -> None:
    """Makes sure that names can be a list of phases.

    Raises:
        UserError: it is empty, a name stands twice, or one cannot be the name of a phase.
    """
    received = setting("phases", ",".join(names))
    if not any(names):
        raise UserError(f"{received}: expected the name of a phase at least, such as head")
    for name in names:
        if name in RESERVED:
            raise UserError(
                f"{received}: {name!r} has another meaning; expected other names than"
                f" {', '.join(RESERVED)}"
            )
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise UserError(
                f"{received}: {name!r} cannot be the name of a phase; expected lower-case letters,"
                " digits and underscores, separated by commas"
            )
        if name == "all" and name != names[-1]:
            raise UserError(
                f"{received}: {setting('phase', 'all')} stands for all phases, so that a phase of"
                " that name must be the last; give it another name, or its place"
            )
        if names.count(name) > 1:
            raise UserError(f"{received}: {name!r} is given twice; give each its own name")


def require_slices(config: Config) -> None:
    """Makes sure that a batch can be cut into the slices that are asked for.

    Raises:
        UserError: their number is no power of two, or does not divide the batch size.
    """
    count, size = config.slices_in_use, config.batch_size
    if count < 1 or count & (count - 1) or size % count:
        largest = size & -size  # the largest power of two that divides it
        fitting = ", ".join(str(2**i) for i in range(largest.bit_length()))
        raise UserError(
            f"{setting('slices', count)}: expected a power of two that divides"
            f" {setting('batch_size', size)}: {fitting}"
        )


def require_source_size(config: Config) -> None:
    """Makes sure that what the network sees lies in the middle of an image, on whole pixels.

    Raises:
        UserError: the image is smaller, or one side of the middle would have a pixel more.
    """
    size, seen = config.source_size_in_use, config.image_size
    if size < seen or (size - seen) % 2:
        raise UserError(
            f"{setting('source_size', size)}: expected {setting('image_size', seen)}, or more by an"
            f" even number of pixels, such as {seen + 2 * (seen // 8)}"
        )


def require_workers(config: Config, count: int) -> None:
    """Makes sure that the slices of a batch can be shared out evenly.

    Raises:
        UserError: they cannot.
    """
    if config.slices_in_use % count:
        fitting = ", ".join(str(2**i) for i in range(config.slices_in_use.bit_length()))
        raise UserError(
            f"{setting('workers', count)}: expected a number that divides"
            f" {setting('slices', config.slices_in_use)}: {fitting}"
        )


def user_cache() -> Path:
    """The folder for what can be made again: data sets, decoded images, downloaded weights."""
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if place == "~/.cache":  # no HOME, and no account that names one
        return _without_home()
    return Path(expanded(place), "thaw").absolute()


def _without_home() -> Path:
    """A folder for what a user without a home keeps, for as long as the system leaves it there.

    Raises:
        UserError: somebody else has it.
    """
    user = os.getuid()
    place = Path(tempfile.gettempdir(), f"thaw-{user}").absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != user:
        raise UserError(
            f"there is no home folder, and {place} is another user's: set XDG_CACHE_HOME to a"
            " folder for what can be made again"
        )
    return place


def expanded(path: str) -> Path:
    """A path as it is typed, with a leading ~ or ~user for the home folder that it stands for.

    Raises:
        UserError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path}: no home folder is known for its ~; give the whole path"
        ) from error


def backbone_file(backbone: str) -> Path | None:
    """The file that `--backbone` names; None where it is a name."""
    is_file = backbone.endswith((".keras", ".h5")) or os.sep in backbone.partition("(")[0]
    return expanded(backbone) if is_file else None


def weight_file(weights: str) -> Path | None:
    """The file that `--weights` names; None for a word that stands for weights.

    Raises:
        UserError: there is no such file.
    """
    if weights in ("imagenet", "drawn", "none", "own"):
        return None
    path = expanded(weights)
    if not path.is_file():
        raise UserError(
            f"{setting('weights', weights)}: no such file; expected imagenet, drawn, none, or the"
            " path of a Keras weight file (.weights.h5 or .h5)"
        )
    return path


def resolved(config: Config) -> Config:
    """Fills in what the environment decides: where the run and the data sets live.

    A data set that is a folder gets an absolute path, so that the run can be resumed from anywhere.
    """
    dataset = config.dataset
    if dataset not in ("cats_and_dogs", "drawn"):
        dataset = str(expanded(dataset).absolute())
    if config.from_run:  # These phases are finished already, in that run.
        source = _absolute(config.from_run)
        names = [phase.name for phase in config.phases]
        begun = names.index(config.from_phase) + 1 if config.from_phase in names else 0
        done = tuple(dataclasses.replace(phase, epochs=0) for phase in config.phases[:begun])
        phases = (*done, *config.phases[begun:])
        config = dataclasses.replace(config, from_run=source, phases=phases)
    if file := backbone_file(config.backbone):
        weights = "own" if config.weights == Config.weights else config.weights
        config = dataclasses.replace(config, backbone=str(file.absolute()), weights=weights)
    name = Path(dataset).name
    if name == "..":  # a name of its own, and not the folder above runs/
        name = os.path.basename(os.path.realpath(dataset))
    require_slices(config)
    require_source_size(config)
    return dataclasses.replace(
        config,
        source_size=None if config.source_size == config.image_size else config.source_size,
        dataset=dataset,
        workdir=str(expanded(config.workdir or f"runs/{name}")),
        data_dir=_absolute(config.data_dir) if config.data_dir else str(user_cache()),
        plugin=tuple(map(_absolute, config.plugin)),
        share_features=config.share_features and _absolute(config.share_features),
    )


def _absolute(path: str) -> str:
    return str(expanded(path).absolute())


# Where things are kept, how much of them, and how often state is written.
HOUSEKEEPING = frozenset(
    {"workdir", "data_dir", "dataset_url", "cache_mb", "memory_mb", "bad_images", "histograms"}
    | {"checkpoint_every", "keep_checkpoints", "log_every", "threads", "workers", "worker_wait"}
    | {"share_features"}
)

# What may differ between the workers of a run: where things are, and how much a machine can bear.
# Data, weights and plugins are compared by content.
OF_ONE_WORKER = frozenset(
    {"workdir", "data_dir", "dataset", "dataset_url", "weights", "from_run", "plugin", "cache_mb"}
    | {"memory_mb", "share_features", "threads", "workers", "worker_wait"}
)

# What may differ between two starts of one run without making it another one. Data, weights and
# plugins are compared by content, not by the path they were read from; phases one by one, as those
# that have not begun may still change. Updates may be skipped from the step on at which the run has
# failed.
NOT_IDENTITY = (
    HOUSEKEEPING
    | {"dataset", "weights", "from_run", "from_phase", "plugin"}
    | {"skip_nonfinite", "phases"}
)


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Which values that make a run what it is have changed, as {name: (before, now)}.

    Args:
        before: values by their names.
        now: what is to be compared; names that are missing here are not, nor are phases.
    """
    phases = {*before.get("phases", ()), *now.get("phases", ())}
    ignored = NOT_IDENTITY | {f"{phase}_{name}" for phase in phases for name in PHASE_FLAGS}
    if all(backbone_file(values.get("backbone", "")) for values in (before, now)):
        ignored |= {"backbone"}  # of files, the contents are compared
    return {
        name: (before.get(name), value)
        for name, value in now.items()
        if name not in ignored and value != before.get(name)
    }
