"""The parts of a run, opened before the run itself: what is quick to fail comes first."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib import plugins
from lib.config import Config, backbone_file
from lib.data.dataset import Dataset, list_classes_of, open_dataset
from lib.model.backbones import alpha_of, comes_with_weights, is_mobilenet_v2, require_known
from lib.model.weights import fetch
from lib.runs import folder as run_folder
from lib.system import fault_points, runtime
from lib.system.progress import bar

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.model.network import Network


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run is made from.

    Attributes:
        config: what the run is.
        before: what it was at its last start; None for a new one.
        plugins: the digest of each.
        network: with its first weights.
        initial_weights_sha256: the digest of those of the backbone.
        backbone_sha256: that of the file that the backbone is from; None of one with a name.
        dataset: its images.
    """

    config: Config
    before: run_folder.Saved | None
    plugins: Mapping[str, str]
    network: "Network"
    initial_weights_sha256: str
    backbone_sha256: str | None
    dataset: Dataset


def fetch_weights(config: Config) -> None:
    """Makes sure that the first weights are there: a missing file is found before it is read.

    What Keras downloads is looked for once it is started.

    Raises:
        UserError: they cannot be obtained.
    """
    ours = is_mobilenet_v2(config)
    if not config.from_run and (ours or config.weights != "imagenet"):
        fetch(config.weights, alpha_of(config) if ours else 1.0, config.image_size, bar)


def open_parts(folder: Path, config: Config) -> Parts:
    """Opens what a run is made from; what is quick to find out comes before what takes long.

    Raises:
        UserError: another run lives in the folder, or something cannot be obtained.
    """
    before = run_folder.saved(folder)
    config = run_folder.continued(folder, config, before)
    if not before:
        require_known(config)
    fetch_weights(config)
    classes = list_classes_of(config, bar)

    fault_points.point("tensorflow")
    # It takes seconds, so that most of what can be wrong has been said by then; reading all
    # images may take minutes, so that what TensorFlow must be asked for is asked before.
    runtime.start(config.threads, config.seed)
    from lib.model.network import weights_sha256
    from lib.runs import resume
    from lib.training.trainable import build_network

    digests = plugins.load(config.plugin)
    begun = False
    if before:
        run_folder.require_same(folder, before.facts, {"plugins": digests})
        begun = resume.require_same_phases(folder, config, before)
    kept = folder if begun else config.from_run and Path(config.from_run)
    network = build_network(config, classes, kept)
    initial = weights_sha256(network.backbone.variables)
    # Of first weights that are not made or read again, the word for them is compared.
    left_out = config.weights == "none" or comes_with_weights(config)
    same = begun and before.flags["weights"] == config.weights
    if begun and (config.from_run or (left_out and same)):
        initial = before.facts["initial_weights_sha256"]
    file = backbone_file(config.backbone)
    if file and before and not file.exists():
        backbone = before.facts["backbone_sha256"]
    else:
        backbone = file and hashlib.sha256(file.read_bytes()).hexdigest()
    resume.find_other(config, classes, before)
    dataset = open_dataset(config, bar)
    if before:
        run_folder.require_same_images(folder, before, dataset)
    return Parts(config, before, digests, network, initial, backbone, dataset)
