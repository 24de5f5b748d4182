"""A finished run, opened for a benchmark of its parts."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib.config import Config
from lib.runs import folder as run_folder
from lib.system import runtime
from lib.system.progress import bar

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.model.network import Network


class FinishedRun(NamedTuple):
    """What a benchmark needs of a run.

    Attributes:
        folder: where it is.
        config: what it is.
        rates: training images per second, by phase.
        network: as it is built for the run, with other weights.
    """

    folder: Path
    config: Config
    rates: dict[str, float]
    network: "Network"


def from_command_line(description: str) -> FinishedRun:
    """Opens the run that the command line names, and starts TensorFlow as the run does.

    Args:
        description: of the benchmark.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run", type=Path, help="folder of a finished run of both phases")
    folder = parser.parse_args().run
    saved = run_folder.require_saved(folder)
    config, classes = saved.config, len(saved.facts["classes"])
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    runtime.start(config.threads, config.seed)
    from lib.model.architecture import build_backbone, open_kept
    from lib.model.network import build

    backbone, scaling = open_kept(folder) or build_backbone(config, bar)
    network = build(backbone, classes, config.dropout, config.seed, scaling)
    return FinishedRun(folder, config, result["images_per_second"], network)
