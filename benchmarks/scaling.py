"""The time per image and the memory of a run, from 500 training images to 20,000.

    python -m benchmarks.scaling --output=scaling.md

One epoch of each phase, each size on its own. The larger sets repeat images under other names.
About ten minutes on two cores with the defaults.
"""

import argparse
import dataclasses
import itertools
import json
import tempfile
from pathlib import Path

from benchmarks.contenders import add_flags, splits_from, thaw, work_from

SIZES = (500, 1000, 2000, 5000, 10_000, 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_flags(parser, epochs=1)
    parser.add_argument(
        "--sizes", nargs="+", default=SIZES, type=int, help="numbers of training images"
    )
    parser.add_argument("--output", type=Path, help="Markdown file for the table [none]")
    arguments = parser.parse_args()
    splits = splits_from(arguments)
    rows = [
        "| training images | start | head, an image | fine-tuning, an image | peak memory |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in arguments.sizes:
        train = tuple(itertools.islice(itertools.cycle(splits.train), size))
        with tempfile.TemporaryDirectory() as scratch:
            of_size = dataclasses.replace(splits, train=train)
            work = work_from(arguments, of_size, Path(scratch))
            run = thaw(work)
            result = json.loads((work.run_folder / "result.json").read_text())
        cost = {phase: 1000 / rate for phase, rate in result["images_per_second"].items()}
        rows.append(
            f"| {size:,} | {run.seconds['start']:.1f} s | {cost['head']:.2f} ms"
            f" | {cost['finetune']:.2f} ms | {run.peak_memory_mb:.0f} MiB |"
        )
        print(rows[-1], flush=True)
    table = "\n".join(rows)
    print(f"\n{table}")
    if arguments.output:
        arguments.output.write_text(f"{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
