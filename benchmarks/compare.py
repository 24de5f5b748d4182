"""Thaw compared with its peers, Keras' `fit` and PyTorch with timm: the whole recipe, as a table.

    python -m venv PEERS && PEERS/bin/pip install -r benchmarks/requirements.txt
    python -m benchmarks.compare --torch_python=PEERS/bin/python --output=comparison.md
    python -m benchmarks.compare --head_epochs=2 --finetune_epochs=2

The same images, weights and numbers of threads, one process after the other, the programs taking
turns; without `--torch_python`, Keras alone. About an hour on two cores with the first command.
"""

import argparse
import platform
import tempfile
from pathlib import Path

from benchmarks.contenders import (
    add_flags,
    alternate,
    keras_fit,
    splits_from,
    thaw,
    torch_timm,
    work_from,
)
from benchmarks.tables import as_markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_flags(parser, epochs=10)
    parser.add_argument("--repeats", default=3, type=int, help="runs of each program [3]")
    parser.add_argument(
        "--torch_python",
        help="interpreter of an environment with benchmarks/requirements.txt [without PyTorch]",
    )
    parser.add_argument("--output", type=Path, help="Markdown file for the table [none]")
    arguments = parser.parse_args()
    contenders = {"Thaw": thaw, "Keras fit": keras_fit}
    if arguments.torch_python:
        contenders["PyTorch + timm"] = torch_timm(arguments.torch_python)
    with tempfile.TemporaryDirectory() as scratch:
        work = work_from(arguments, splits_from(arguments), Path(scratch))
        runs = alternate(contenders, work, arguments.repeats)
    table = as_markdown(runs)
    about = (
        f"{work.head_epochs} + {work.finetune_epochs} epochs, MobileNetV2 alpha {work.alpha:g} at"
        f" {work.image_size} px, {work.threads} threads, {platform.machine()}; medians of"
        f" {arguments.repeats}; × is the time of Thaw."
    )
    print(f"\n{table}\n\n{about}")
    if arguments.output:
        arguments.output.write_text(f"{table}\n\n{about}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
