"""The recipes in `flags/` beside Keras' `fit`: what they take, and how accurate they are.

    python -m benchmarks.recipes accurate speedrun --seeds=3

`fit` is trained once, for 10 + 10 epochs, with images that it decodes itself; the recipes by each
of the seeds, with images that are decoded already. Prints a Markdown table with a row for each run.
The times are from the command to the end of the report.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from benchmarks.contenders import Work, add_flags, keras_fit, splits_from, work_from
from benchmarks.measure import ROOT, Cost, cost_of

PRESETS = ROOT / "flags"


def trained(work: Work, recipe: str, folder: Path, *flags: str) -> Cost:
    """Trains by a recipe, into a folder."""
    command = [sys.executable, "train.py", f"--flagfile={PRESETS / recipe}.cfg"]
    command += [f"--dataset={work.data}", f"--workdir={folder}", f"--threads={work.threads}"]
    command += [f"--weights={work.weights}", *flags]
    return cost_of(command, {"XDG_CACHE_HOME": str(work.scratch / "cache")})


def no_epochs(recipe: str) -> list[str]:
    """Flags with which a run of a recipe ends before its first step, with all images decoded."""
    text = (PRESETS / f"{recipe}.cfg").read_text()
    phases = re.search(r"^--phases=(.*)$", text, re.MULTILINE)
    return [
        f"--{phase}_epochs=0" for phase in (phases[1] if phases else "head,finetune").split(",")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_flags(parser, epochs=10)
    parser.add_argument("recipes", nargs="*", default=["accurate", "speedrun"])
    parser.add_argument("--seeds", default=3, type=int, help="runs of each recipe [3]")
    arguments = parser.parse_args()
    print("| recipe | seed | seconds | of `fit` | processor seconds | validation | test |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = work_from(arguments, splits_from(arguments), Path(scratch))
        fit = keras_fit(work)
        of_fit = fit.seconds["total"]
        print(
            f"| Keras' `fit` | 0 | {of_fit:.1f} | 1 | | {fit.validation_accuracy:.4f}"
            f" | {fit.test_accuracy:.4f} |",
            flush=True,
        )
        for recipe in arguments.recipes:
            trained(work, recipe, work.scratch / f"{recipe}_decoded", *no_epochs(recipe))
            for seed in range(arguments.seeds):
                folder = work.scratch / f"{recipe}_{seed}"
                cost = trained(work, recipe, folder, f"--seed={seed}")
                result = json.loads((folder / "result.json").read_text())
                print(
                    f"| `{recipe}` | {seed} | {cost.seconds:.1f} | 1/{of_fit / cost.seconds:.1f}"
                    f" | {cost.processor:.1f} | {result['validation']['accuracy']:.4f}"
                    f" | {result['test']['accuracy']:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
