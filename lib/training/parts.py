"""What a run is made from, opened before the run itself: what is quick to fail comes first."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib import faults, plugins, run_folder, runtime
from lib.config import Config, weight_file
from lib.data.dataset import Dataset, open_dataset
from lib.reporting.progress import bar

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    import keras


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run is made from.

    Attributes:
        config: what the run is.
        before: what it was at its last start; None for a new one.
        plugins: the digest of each.
        backbone: with its first weights.
        dataset: its pictures.
    """

    config: Config
    before: run_folder.Saved | None
    plugins: Mapping[str, str]
    backbone: "keras.Model"
    dataset: Dataset


def open_parts(folder: Path, config: Config) -> Parts:
    """Opens what a run is made from; what is quick to find out comes before what takes long.

    Raises:
        UserError: another run lives in the folder, or something cannot be had.
    """
    before = run_folder.saved(folder)
    config = run_folder.continued(folder, config, before)
    if not config.from_run:
        weight_file(config.weights)  # missed now, and not when it is read

    faults.point("tensorflow")
    # Not before: it takes seconds, and much of what can be wrong has been said by then.
    runtime.start(config.threads, config.seed)
    digests = plugins.load(config.plugin)
    if before:
        run_folder.require_same(folder, before.facts, {"plugins": digests})
    from lib.training.run import open_backbone

    return Parts(config, before, digests, open_backbone(config), open_dataset(config, bar))
