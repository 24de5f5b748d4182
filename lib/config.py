"""What a run is: every choice that makes it this run and no other."""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from lib.errors import UserError

PHASES = ("head", "finetune")


@dataclasses.dataclass(frozen=True)
class Phase:
    """One stretch of training with an optimizer of its own.

    Attributes:
        name: "head" or "finetune".
        epochs: how many passes over the training pictures.
        optimizer: the name of a Keras optimizer.
        learning_rate: its rate; the peak rate where the schedule is not constant.
        schedule: "constant" or "cosine" (linear warm-up over the first tenth, then to zero).
        trained_from: the backbone's first trained layer, by index or by name; None freezes it all.
        views: augmented views of each picture that the epochs repeat in turn; 0: always new ones.
    """

    name: str
    epochs: int
    optimizer: str
    learning_rate: float
    schedule: str
    trained_from: int | str | None
    views: int = 0


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a run; each field is a flag of the same name, and its default.

    Paths are strings, so that a configuration is plain JSON.
    """

    workdir: str = ""  # resolved to runs/<dataset> where empty
    seed: int = 0
    threads: int = 0  # resolved to the run's own number, for a new run to all cores

    dataset: str = "cats_and_dogs"
    data_dir: str = ""  # resolved to the per-user cache where empty
    dataset_url: str | None = None
    bad_images: str = "stop"
    train_limit: int | None = None
    eval_limit: int | None = None
    cache_mb: int = 8192
    memory_mb: int = 1024

    batch_size: int = 32
    image_size: int = 160
    rotation: float = 0.2

    weights: str = "imagenet"
    from_run: str | None = None
    alpha: float = 1.0
    dropout: float = 0.2
    engine: str = "auto"

    head_epochs: int = 10
    head_optimizer: str = "adam"
    head_learning_rate: float = 1e-4
    head_schedule: str = "constant"
    head_views: int = 0

    finetune_epochs: int = 10
    finetune_optimizer: str = "rmsprop"
    finetune_learning_rate: float = 1e-5
    finetune_schedule: str = "constant"
    fine_tune_at: int | str = 100

    checkpoint_every: int = 50
    keep_checkpoints: int = 3
    skip_nonfinite: bool = False
    histograms: bool = False

    @property
    def head(self) -> Phase:
        """The first phase: a new head on the frozen backbone."""
        return Phase(
            "head",
            self.head_epochs,
            self.head_optimizer,
            self.head_learning_rate,
            self.head_schedule,
            trained_from=None,
            views=self.head_views,
        )

    @property
    def finetune(self) -> Phase:
        """The second phase: the top of the backbone thawed."""
        return Phase(
            "finetune",
            self.finetune_epochs,
            self.finetune_optimizer,
            self.finetune_learning_rate,
            self.finetune_schedule,
            trained_from=self.fine_tune_at,
        )

    def phase(self, name: str) -> Phase:
        """The phase of that name, one of `PHASES`."""
        return {"head": self.head, "finetune": self.finetune}[name]

    def to_json(self) -> dict[str, Any]:
        """The configuration as a mapping of flag names to plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """The configuration that `to_json` gave."""
        return cls(**values)


def user_cache() -> Path:
    """The folder for what can be made again: data sets, decoded pictures, downloaded weights."""
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if place == "~/.cache":  # no HOME, and no account that could tell it
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


def weight_file(weights: str) -> Path | None:
    """The file that `--weights` names; None for a word that stands for weights.

    Raises:
        UserError: there is no such file.
    """
    if weights in ("imagenet", "drawn", "none"):
        return None
    path = expanded(weights)
    if not path.is_file():
        raise UserError(
            f"--weights={weights}: no such file; expected imagenet, drawn, none, or the path of a"
            " Keras weight file (.weights.h5 or .h5)"
        )
    return path


def resolved(config: Config) -> Config:
    """Fills in what the environment decides: where the run and the data sets live.

    A data set that is a folder gets an absolute path, so that the run can be resumed from anywhere.
    """
    dataset = config.dataset
    if dataset not in ("cats_and_dogs", "drawn"):
        dataset = str(expanded(dataset).absolute())
    if config.from_run:  # The head is trained already, in that run.
        source = str(expanded(config.from_run).absolute())
        config = dataclasses.replace(config, from_run=source, head_epochs=0)
    name = Path(dataset).name
    if name == "..":  # a name of its own, and not the folder above runs/
        name = os.path.basename(os.path.realpath(dataset))
    return dataclasses.replace(
        config,
        dataset=dataset,
        workdir=str(expanded(config.workdir or f"runs/{name}")),
        data_dir=str((expanded(config.data_dir) if config.data_dir else user_cache()).absolute()),
    )


# Where things are kept, how much of them, and how often state is written.
HOUSEKEEPING = frozenset(
    {"workdir", "data_dir", "dataset_url", "cache_mb", "memory_mb", "bad_images", "histograms"}
    | {"checkpoint_every", "keep_checkpoints"}
)

# What may differ between two starts of one run without making it another one. The number of
# threads changes the last bits, so it is warned of. Data and weights are compared by content, not
# by the path they were read from. Updates may be skipped from the step on at which the run has
# failed.
NOT_IDENTITY = (
    HOUSEKEEPING
    | {"dataset", "weights", "from_run", "threads"}
    | {"skip_nonfinite", "head_epochs", "finetune_epochs"}
)


# What belongs to fine-tuning alone: free to be changed until it begins.
OF_FINETUNE = frozenset(
    field.name
    for field in dataclasses.fields(Config)
    if field.name.startswith("finetune_") or field.name == "fine_tune_at"
)


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Which values that make a run what it is have changed, as {name: (before, now)}.

    Args:
        before: values by their names.
        now: what is to be compared; names that are missing here are not.
    """
    return {
        name: (before.get(name), value)
        for name, value in now.items()
        if name not in NOT_IDENTITY and value != before.get(name)
    }
