"""The parts of a run, opened before the run itself: what is quick to fail comes first."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import plugins
from lib.config import OF_ONE_WORKER, Config, backbone_file, require_workers, setting, weight_file
from lib.data.dataset import Dataset, list_classes_of, open_dataset
from lib.distribution.meeting import Meeting
from lib.model.backbones import alpha_of, comes_with_weights, is_mobilenet_v2, require_known
from lib.model.weights import fetch
from lib.runs import folder as run_folder
from lib.system import fault_points, runtime
from lib.system.files import sha256_of
from lib.system.progress import bar

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.distribution.workers import Workers
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
        workers: that train it.
    """

    config: Config
    before: run_folder.Saved | None
    plugins: Mapping[str, str]
    network: "Network"
    initial_weights_sha256: str
    backbone_sha256: str | None
    dataset: Dataset
    workers: "Workers"


def fetch_weights(config: Config) -> None:
    """Makes sure that the first weights are there: a missing file is found before it is read.

    What Keras downloads is looked for once it is started.

    Raises:
        UserError: they cannot be obtained.
    """
    ours = is_mobilenet_v2(config)
    if not config.from_run and (ours or config.weights != "imagenet"):
        fetch(config.weights, alpha_of(config) if ours else 1.0, config.image_size, bar)


def open_parts(
    folder: Path, config: Config, meeting: Meeting, connect: Callable[[], "Workers"]
) -> Parts:
    """Opens what a run is made from; what is quick to find out comes before what takes long.

    Args:
        folder: of the run; the chief's alone is read.
        config: what the run is.
        meeting: of the workers, which is held before TensorFlow starts.
        connect: joins them.

    Raises:
        UserError: another run lives in the folder, something cannot be obtained, or the workers
            are not all there.
    """
    chief = meeting.cluster.chief
    asked = config
    before = run_folder.saved(folder) if chief else None
    config = run_folder.continued(folder, config, before)
    if not before:
        require_known(config)
    fetch_weights(config)
    classes = list_classes_of(config, bar)

    if meeting.cluster.count > 1:
        known = {"slices": config.slices, "run": before and dataclasses.asdict(before)}
        known = meeting.hold(_facts(asked), known, config.worker_wait)
        before = known["run"] and run_folder.Saved(**known["run"])
        config = dataclasses.replace(config, slices=known["slices"])
        require_workers(config, meeting.cluster.count)
    with meeting.joining():
        fault_points.point("tensorflow")
        # It takes seconds, so that most of what can be wrong has been said by then; reading all
        # images may take minutes, so that what TensorFlow must be asked for is asked before.
        workers = runtime.start(config.threads, config.seed, connect)
    from lib.model.network import weights_sha256
    from lib.runs import resume
    from lib.training.trainable import build_network

    digests = plugins.load(config.plugin)
    begun = False
    if before and chief:
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
        backbone = file and sha256_of(file)
    if chief:
        resume.find_other(config, classes, before)
    dataset = open_dataset(config, bar)
    if before and chief:
        run_folder.require_same_images(folder, before, dataset)
    return Parts(config, before, digests, network, initial, backbone, dataset, workers)


def _facts(config: Config) -> dict[str, Any]:
    """What can be told before the long work of what all workers must have in common."""
    flags = config.to_json().items()
    named = {"plugins": config.plugin, "weights": filter(None, [weight_file(config.weights)])}
    files = {name: list(map(Path, paths)) for name, paths in named.items()}
    made_by = runtime.provenance()
    del made_by["environment"]  # each worker has a GPU of its own
    return {
        **{setting(name): value for name, value in flags if name not in OF_ONE_WORKER},
        **{
            name: [sha256_of(path) if path.is_file() else "missing" for path in paths]
            for name, paths in files.items()
        },
        **made_by,
    }
