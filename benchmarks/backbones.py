"""Thaw compared with Keras' `fit` for several backbones: the same network, images and recipe.

    python -m benchmarks.backbones mobilenet_v3_small resnet50 --train_limit=640 --eval_limit=256

An epoch of each phase, the programs taking turns, all weights random. Prints a Markdown table with
a row for each backbone: how many times as fast as `fit` it is, medians over the turns, and the peak
memory of both. Training is counted by the image, once all is compiled: a network of few
multiplications takes longer to compile than to train on a few hundred images. The whole phases
include that, and validation.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.contenders import Run, add_flags, alternate, keras_fit, splits_from, thaw, work_from

ALL = (
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"),
    *("efficientnet_v2_b0", "convnext_tiny", "densenet121", "resnet50"),
)


def seconds_an_image(*phases: str) -> Callable[[Run], float]:
    return lambda run: sum(1 / run.rates[phase] for phase in phases)


COLUMNS: dict[str, Callable[[Run], float]] = {
    "training, both phases": seconds_an_image("head", "finetune"),
    "head": seconds_an_image("head"),
    "fine-tuning": seconds_an_image("finetune"),
    "whole phases": lambda run: run.seconds["head"] + run.seconds["finetune"],
}


def row(backbone: str, ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    """The row of a backbone."""
    cells = []
    for taken in COLUMNS.values():
        ratios = [taken(their) / taken(our) for our, their in zip(ours, theirs, strict=True)]
        cells.append(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    cells += [f"{median(run.peak_memory_mb for run in runs):.0f} MiB" for runs in (ours, theirs)]
    return f"| `{backbone}` | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="*", default=ALL, help=f"[{' '.join(ALL)}]")
    add_flags(parser, epochs=1)
    parser.set_defaults(weights="none", alpha=1.0, image_size=160)
    parser.add_argument("--repeats", default=3, type=int, help="runs of each program [3]")
    arguments = parser.parse_args()
    print(f"| backbone | {' | '.join(COLUMNS)} | memory | memory of fit |")
    print(f"| --- |{' ---: |' * (len(COLUMNS) + 2)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = work_from(arguments, splits_from(arguments), Path(scratch))
        for backbone in arguments.backbones:
            of_backbone = dataclasses.replace(work, backbone=backbone)
            contenders = {"Thaw": thaw, "Keras fit": keras_fit}
            runs = alternate(contenders, of_backbone, arguments.repeats)
            print(row(backbone, *runs.values()), flush=True)


if __name__ == "__main__":
    main()
