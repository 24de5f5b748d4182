"""The parts of a run, opened before the run itself: what is quick to fail comes first."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import plugins
from lib.config import OF_ONE_WORKER, Config, require_workers, setting, weight_file
from lib.data.dataset import Dataset, list_classes_of, open_dataset
from lib.distribution.meeting import Meeting
from lib.model.weights import fetch
from lib.runs import folder as run_folder
from lib.system import fault_points, runtime
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
        dataset: its images.
        workers: that train it.
    """

    config: Config
    before: run_folder.Saved | None
    plugins: Mapping[str, str]
    network: "Network"
    dataset: Dataset
    workers: "Workers"


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
    if not config.from_run:
        # A missing file is found now, and not when it is read.
        fetch(config.weights, config.alpha, config.image_size, bar)
    classes = list_classes_of(config, bar)

    if meeting.cluster.count > 1:
        known = {"slices": config.slices, "run": before and dataclasses.asdict(before)}
        known = meeting.hold(_facts(asked), known, config.worker_wait)
        before = known["run"] and run_folder.Saved(**known["run"])
        config = dataclasses.replace(config, slices=known["slices"])
        require_workers(config, meeting.cluster.count)
    fault_points.point("tensorflow")
    # It takes seconds, so that most of what can be wrong has been said by then; reading all
    # images may take minutes, so that what TensorFlow must be asked for is asked before.
    workers = runtime.start(config.threads, config.seed, connect)
    from lib.runs import resume
    from lib.training.trainable import build_network

    digests = plugins.load(config.plugin)
    if before and chief:
        run_folder.require_same(folder, before.facts, {"plugins": digests})
        resume.require_same_phases(folder, config, before)
    network = build_network(config, classes)
    if chief:
        resume.find_other(config, classes, before)
    dataset = open_dataset(config, bar)
    if before and chief:
        run_folder.require_same_images(folder, before, dataset)
    return Parts(config, before, digests, network, dataset, workers)


def _facts(config: Config) -> dict[str, Any]:
    """What can be told before the long work of what all workers must have in common."""
    flags = config.to_json().items()
    files = {"plugins": config.plugin, "weights": filter(None, [weight_file(config.weights)])}
    made_by = runtime.provenance()
    del made_by["environment"]  # each worker has a GPU of its own
    return {
        **{setting(name): value for name, value in flags if name not in OF_ONE_WORKER},
        **{name: [_digest(Path(path)) for path in paths] for name, paths in files.items()},
        **made_by,
    }


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
