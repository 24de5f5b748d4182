"""The programs that are compared, and the one piece of work that all of them are given."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT, cost_of
from lib.config import user_cache
from lib.data import drawn
from lib.data.listing import ImageFile
from lib.data.splits import Splits, limited, split_folder
from lib.system.progress import bar
from lib.system.runtime import cores

# Not imported from lib.model.weights: TensorFlow would come with it and swell this process.
EMBEDDED = ROOT / "lib" / "model" / "embedded" / "mobilenet_v2_0.35_96_drawn.weights.h5"


@dataclass(frozen=True)
class Work:
    """The recipe: a new head on the frozen backbone, then fine-tuning of its top 35 % of layers.

    Attributes:
        data: holds train/, validation/ and test/, so that everyone sees the same splits.
        scratch: a folder for what the runs leave behind.
        weights: a Keras weight file of the backbone without top, or "none".
        alpha: width of the network.
        image_size: pixels.
        head_epochs: of Adam at 1e-4, as everyone's defaults have it.
        finetune_epochs: of RMSprop at 1e-5.
        threads: processor threads.
        backbone: by its name; PyTorch knows MobileNetV2 alone.
    """

    data: Path
    scratch: Path
    weights: Path | str
    alpha: float
    image_size: int
    head_epochs: int
    finetune_epochs: int
    threads: int
    backbone: str = "mobilenet_v2"

    @property
    def run_folder(self) -> Path:
        """Where Thaw's latest run is."""
        return self.scratch / "run"

    def flags(self) -> list[str]:
        """The flags that all programs share."""
        names = ("weights", "alpha", "image_size", "head_epochs", "finetune_epochs", "threads")
        return [f"--{name}={getattr(self, name)}" for name in names]


@dataclass(frozen=True)
class Run:
    """What a run of a program took and came to.

    Attributes:
        seconds: by phase: training and validation; "total" is the life of the process.
        peak_memory_mb: its largest resident set, in MiB.
        validation_accuracy: after the last epoch.
        test_accuracy: at the end.
        rates: images per second by phase, of training alone once all is compiled.
    """

    seconds: dict[str, float]
    peak_memory_mb: float
    validation_accuracy: float
    test_accuracy: float
    rates: dict[str, float]


Contender = Callable[[Work], Run]


def thaw(work: Work) -> Run:
    """This program, its caches cold: the peers decode their images in each run, too."""
    folder = work.run_folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(work.scratch / "cache" / "thaw", ignore_errors=True)
    cost = cost_of(
        [
            sys.executable,
            "train.py",
            f"--dataset={work.data}",
            f"--workdir={folder}",
            f"--backbone={work.backbone}",
            *work.flags(),
        ],
        {"XDG_CACHE_HOME": str(work.scratch / "cache")},
    )
    result = json.loads((folder / "result.json").read_text())
    return Run(
        result["seconds"] | {"total": cost.seconds},
        cost.peak_memory_mb,
        result["validation"]["accuracy"],
        result["test"]["accuracy"],
        result["images_per_second"],
    )


def keras_fit(work: Work) -> Run:
    """Keras' `fit`, with the data pipeline and the augmentation of the well-known tutorial."""
    return _peer(sys.executable, "keras_fit", work, f"--backbone={work.backbone}")


def torch_timm(python: str) -> Contender:
    """PyTorch and timm, in the environment of that interpreter.

    Raises:
        SystemExit: they are not there.
    """
    found = "import sys; from importlib.util import find_spec; sys.exit(not find_spec('timm'))"
    try:
        there = subprocess.run([python, "-c", found]).returncode == 0
    except OSError:
        there = False
    if not there:
        sys.exit(
            f"--torch_python={python} does not run a Python with timm: make an environment with"
            " benchmarks/requirements.txt, and give its interpreter"
        )
    return lambda work: _peer(python, "torch_timm", work)


def _peer(python: str, name: str, work: Work, *flags: str) -> Run:
    program = [python, "-m", f"benchmarks.peers.{name}"]
    cost = cost_of([*program, f"--data={work.data}", *work.flags(), *flags])
    said = json.loads(cost.output.splitlines()[-1])
    return Run(
        said["seconds"] | {"total": cost.seconds},
        cost.peak_memory_mb,
        said["validation_accuracy"],
        said["test_accuracy"],
        said.get("images_per_second", {}),
    )


def alternate(contenders: dict[str, Contender], work: Work, repeats: int) -> dict[str, list[Run]]:
    """Runs everyone in turn, several times over: what else the machine does hits all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for repeat in range(1, repeats + 1):
        for name, contender in contenders.items():
            run = contender(work)
            runs[name].append(run)
            seconds = " ".join(f"{phase} {s:.1f} s" for phase, s in run.seconds.items())
            print(
                f"{repeat}/{repeats} {name}: {seconds}, {run.peak_memory_mb:.0f} MiB,"
                f" validation {run.validation_accuracy:.4f}, test {run.test_accuracy:.4f}",
                flush=True,
            )
    return runs


def add_flags(parser: argparse.ArgumentParser, epochs: int) -> None:
    """Adds the flags that describe the work; `epochs` is the default for each phase."""
    # What is not in the environment either is what the program carries with it.
    weights = os.environ.get("MOBILENET_V2_WEIGHTS")
    parser.add_argument(
        "--data",
        default=os.environ.get("CATS_AND_DOGS_DIR"),
        type=Path,
        help="folder with train/ and validation/ [$CATS_AND_DOGS_DIR, or the drawn data set]",
    )
    parser.add_argument(
        "--weights",
        default=weights or str(EMBEDDED),  # as if it were given: argparse converts it
        type=lambda text: text if text == "none" else Path(text).absolute(),
        help="weight file without top, or none [$MOBILENET_V2_WEIGHTS, or the embedded one]",
    )
    parser.add_argument("--alpha", default=1.0 if weights else 0.35, type=float)
    parser.add_argument("--image_size", default=160 if weights else 96, type=int)
    parser.add_argument("--train_limit", type=int, help="the first N training images [all]")
    parser.add_argument("--eval_limit", type=int, help="likewise for validation and test")
    parser.add_argument("--head_epochs", default=epochs, type=int, help="at least 1")
    parser.add_argument("--finetune_epochs", default=epochs, type=int, help="at least 1")
    parser.add_argument("--threads", default=cores(), type=int)


def splits_from(arguments: argparse.Namespace) -> Splits:
    """The images that the flags describe."""
    splits = split_folder(_data_folder(arguments.data), seed=0)
    return limited(splits, arguments.train_limit, arguments.eval_limit)


def work_from(arguments: argparse.Namespace, splits: Splits, scratch: Path) -> Work:
    """The work that the flags describe, on these images.

    Args:
        arguments: what `add_flags` parsed.
        splits: the images; one that is listed twice is a file twice.
        scratch: a folder that may be filled.
    """
    for part in ("train", "validation", "test"):
        _link(getattr(splits, part), splits.classes, scratch / "data" / part)
    return Work(
        data=scratch / "data",
        scratch=scratch,
        weights=arguments.weights,
        alpha=arguments.alpha,
        image_size=arguments.image_size,
        head_epochs=arguments.head_epochs,
        finetune_epochs=arguments.finetune_epochs,
        threads=arguments.threads,
    )


def _data_folder(given: Path | None) -> Path:
    """The given folder, else that of the drawn data set, which is drawn if it has not been yet."""
    if given:
        return given
    return drawn.fetch(user_cache(), bar)


def _link(images: Sequence[ImageFile], classes: tuple[str, ...], folder: Path) -> None:
    """Fills a folder of class folders with links to images, under numbers for names."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        same_class = (image for image in images if image.label == label)
        for number, image in enumerate(same_class):
            target = image.path.absolute()
            (folder / name / f"{number:05d}{target.suffix}").symlink_to(target)
