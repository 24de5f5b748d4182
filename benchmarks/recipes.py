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
from benchmarks.measure import ROOT, cost_of

PRESETS = ROOT / "flags"


def run(work: Work, preset: str, *flags: str) -> tuple[float, float, dict]:
    """Trains by a recipe.

    Returns:
        Seconds on the clock, seconds of processor time, and what `result.json` says.
    """
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:
        command = [sys.executable, "train.py", f"--flagfile={PRESETS / preset}.cfg"]
        command += [
            f"--dataset={work.data}",
            f"--workdir={folder}/run",
            f"--threads={work.threads}",
        ]
        command += [f"--weights={work.weights}", *flags]
        cost = cost_of(command, {"XDG_CACHE_HOME": str(work.scratch / "cache")})
        return cost.seconds, cost.processor, json.loads(Path(folder, "run/result.json").read_text())


def no_epochs(preset: str) -> list[str]:
    """Flags with which a run of a recipe ends before its first step, with all images decoded."""
    text = (PRESETS / f"{preset}.cfg").read_text()
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
            run(work, recipe, *no_epochs(recipe))
            for seed in range(arguments.seeds):
                seconds, processor, result = run(work, recipe, f"--seed={seed}")
                print(
                    f"| `{recipe}` | {seed} | {seconds:.1f} | 1/{of_fit / seconds:.1f}"
                    f" | {processor:.1f} | {result['validation']['accuracy']:.4f}"
                    f" | {result['test']['accuracy']:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
