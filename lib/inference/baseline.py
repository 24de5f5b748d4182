"""Another run that a run is compared with, on the same images."""

import dataclasses
from pathlib import Path

from lib.config import Config, setting
from lib.data.dataset import Subset, open_dataset, resized
from lib.errors import UserError
from lib.runs import folder as run_folder
from lib.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The other run.

    Attributes:
        folder: of the other run.
        config: what it is.
        subset: the images, at its own size.
        seen: how many of them it was trained on, or chose its best epoch by.
    """

    folder: Path
    config: Config
    subset: Subset
    seen: int


def open_baseline(
    folder: Path, run: run_folder.Saved, subset: Subset, own: bool, progress: Progress
) -> Baseline:
    """Opens the run that another one is compared with.

    Args:
        folder: of the baseline.
        run: the run that it is compared with.
        subset: the images.
        own: whether these are the run's own test set, of which a baseline with other splits may
            have seen a part.
        progress: how work on images is reported.

    Raises:
        UserError: there is no run in the folder, or it has other classes.
    """
    other = require_baseline(folder, run)
    config = dataclasses.replace(other.config, workdir=str(folder))
    seen = 0
    if own and other.facts["data_sha256"] != run.facts["data_sha256"]:
        dataset = open_dataset(config, progress)
        known = {*dataset.train.digests, *dataset.validation.digests}
        seen = sum(digest in known for digest in subset.digests)
    if config.source_size_in_use != subset.store.size:
        subset = resized(subset, config, progress)
    return Baseline(folder, config, subset, seen)


def require_baseline(
    folder: Path, run: run_folder.Saved, flag: str = "against"
) -> run_folder.Saved:
    """What another run's `config.json` says, with which a run is to be compared.

    Raises:
        UserError: there is no run in the folder, or it has other classes.
    """
    other = run_folder.saved(folder)
    if other is None:
        raise UserError(f"{setting(flag, folder)} holds no run; give the folder of one")
    if other.facts["classes"] != run.facts["classes"]:
        raise UserError(
            f"{setting(flag, folder)} has the classes {', '.join(other.facts['classes'])}, and"
            f" this run {', '.join(run.facts['classes'])}: only runs of the same classes can be"
            " compared"
        )
    return other
