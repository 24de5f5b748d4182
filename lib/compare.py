"""Sets runs side by side: what differs in flags and results, and their curves over each other.

python -m lib.compare RUN RUN... [--output=FILE.png]

A study stands for its runs: their mean with its interval, and for two or more, the differences in
pairs of the same seed and fold.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config import setting, written
from lib.errors import UserError
from lib.inference import command_line
from lib.inference.command_line import Parser
from lib.reporting.diagnostics import COLOURS, STYLES
from lib.reporting.plots import (
    against_epochs,
    as_shipped,
    families,
    new_figure,
    save,
    shown,
)
from lib.runs import folder as run_folder
from lib.runs.history import Epoch, phase_starts, read_history
from lib.study import groups
from lib.system.files import read_json
from lib.system.progress import duration, say

if TYPE_CHECKING:  # only after `command_line` matplotlib is sure to be importable
    from matplotlib.figure import Figure

_PLACES = ("workdir", "data_dir")  # flags that differ between any two runs, or say nothing
_NONE = "-"


@dataclass(frozen=True)
class Finished:
    """A run as read from its folder.

    Attributes:
        name: by which it is distinguished from the others.
        flags: what it was started with.
        facts: what it found: classes, digests of the data and of the first weights.
        history: its epochs.
        result: of the run; empty where it has not been trained to an end.
    """

    name: str
    flags: dict[str, Any]
    facts: dict[str, Any]
    history: list[Epoch]
    result: dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Prints the tables, draws the curves where asked for, and returns the exit code.

    Raises:
        UserError: a folder holds no run, or the figure cannot be written.
    """
    parser = Parser("lib.compare", __doc__)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=command_line.path, help="folder of a run or a study"
    )
    parser.add_argument(
        "--output", metavar="FILE.png", type=command_line.path, help="draw the curves there"
    )
    given = parser.parse_args(arguments)
    if len(given.runs) < 2:
        parser.error(f"received {given.runs[0]} alone, expected two runs or more")
    if given.output and given.output.suffix.lower() != ".png":
        parser.error(f"{setting('output', given.output)}: expected a name that ends in .png")
    studies = any(map(groups.is_study, given.runs))
    runs = load(_with_runs_of_studies(given.runs) if studies else given.runs)
    if given.output:
        try:
            save(curves(runs), given.output)
        except OSError as error:
            raise UserError(
                f"{setting('output', given.output)} cannot be written ({error.strerror}): give"
                " another file"
            ) from error
        say(f"The curves are in {given.output}\n")
    if studies:
        say(_groups_text(given.runs))
        return 0
    names = ["", *(run.name for run in runs)]
    say(f"{_text([names, *flag_rows(runs)])}\n\n{_text([names, *result_rows(runs)])}")
    return 0


def _groups_text(folders: Sequence[Path]) -> str:
    found = [groups.group(*each) for each in zip(folders, _names(folders), strict=True)]
    names = ["", *(each.name for each in found)]
    tables = [[names, *groups.flag_rows(found)], [names, *groups.result_rows(found)]]
    if rows := groups.difference_rows(found):
        tables.append(rows)
    return "\n\n".join(map(_text, tables))


def _with_runs_of_studies(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs that are given or are of a study that is given."""
    found: list[Path] = []
    for folder in folders:
        runs = sorted(path.parent for path in folder.glob("runs/*/history.csv"))
        found += runs if groups.is_study(folder) else [folder]
    return found


def load(folders: Sequence[Path]) -> list[Finished]:
    """Reads runs; each gets the shortest name that distinguishes it from the others.

    Raises:
        UserError: a folder holds no run, or none that has begun, or is given twice.
    """
    named = zip(folders, _names(folders), strict=True)
    return [_load(folder.absolute(), name) for folder, name in named]


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that distinguish them.

    Raises:
        UserError: one is given twice.
    """
    absolute = [folder.absolute() for folder in folders]
    for folder in absolute:
        if absolute.count(folder) > 1:
            raise UserError(f"{folder} is given twice; give different runs")
    depth = 1
    while len({folder.parts[-depth:] for folder in absolute}) < len(absolute):
        depth += 1
    return ["/".join(folder.parts[-depth:]) for folder in absolute]


def _load(folder: Path, name: str) -> Finished:
    before = run_folder.saved(folder)
    if before is None:
        raise UserError(f"{folder} holds no run; give the folder of one")
    try:
        history = read_history(folder / "history.csv")
    except FileNotFoundError:
        history = []
    if not history:
        raise UserError(f"the run in {folder} has not finished its first evaluation yet")
    return Finished(name, before.flags, before.facts, history, read_json(folder / "result.json"))


def flag_rows(runs: Sequence[Finished]) -> list[list[str]]:
    """The flags, and what was found at the start, that are not the same in all runs: row by row."""
    names = dict.fromkeys(name for run in runs for name in run.flags if name not in _PLACES)
    rows = [
        [setting(name), *(written(run.flags.get(name, _NONE)) for run in runs)] for name in names
    ]
    rows += [
        ["images", *(" + ".join(map(str, run.facts["images"].values())) for run in runs)],
        ["data", *(run.facts["data_sha256"][:8] for run in runs)],
        ["first weights", *(run.facts["initial_weights_sha256"][:8] for run in runs)],
    ]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return differing or [["flags and data", *("the same" for _ in runs)]]


def result_rows(runs: Sequence[Finished]) -> list[list[str]]:
    """The results of the runs, accuracies with their 95 % intervals: row by row."""
    return [
        ["epochs", *(str(run.history[-1].epoch) for run in runs)],
        ["best epoch", *(_at(run, "best", "epoch") for run in runs)],
        ["  validation accuracy", *(_accuracy(run, "best", "validation") for run in runs)],
        ["  validation loss", *(_at(run, "best", "validation", "loss") for run in runs)],
        ["  test accuracy", *(_accuracy(run, "test") for run in runs)],
        *(
            [f"  test {name.replace('_', ' ')}", *(_at(run, "test", name) for run in runs)]
            for name in ("loss", "balanced_accuracy", "roc_auc", "expected_calibration_error")
        ),
        *(
            [
                f"{phase} images/s",
                *(_at(run, "images_per_second", phase, form=".0f") for run in runs),
            ]
            for phase in _phases(runs)
        ),
        ["time", *(_seconds(run) for run in runs)],
    ]


def _phases(runs: Sequence[Finished]) -> list[str]:
    """The phases of all runs, in the order in which they are met."""
    return list(dict.fromkeys(phase for run in runs for _, phase in phase_starts(run.history)))


@as_shipped()
def curves(runs: Sequence[Finished]) -> "Figure":
    """Accuracy and loss of all runs against the epoch: validation bold, training thin."""
    figure = new_figure(3.9 + 0.2 * len(runs))
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, ("accuracy", "loss"), strict=True):
        for index, run in enumerate(runs):
            colour, style = COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS) % 4]
            epochs = [row.epoch for row in run.history]
            for split, weight, opacity in (("train", 1.0, 0.5), ("validation", 2.2, 1.0)):
                values = [getattr(row, f"{split}_{quantity}") for row in run.history]
                label = shown(run.name, 80) if split == "validation" else None
                look = {"color": colour, "linewidth": weight, "alpha": opacity, "label": label}
                axes.plot(epochs, values, style, **look)
        axes.set_title(quantity.capitalize(), fontsize=13, loc="left")
        against_epochs(axes, quantity)
    panels[1].set_title("bold: validation, thin: training", fontsize=9, loc="right")
    handles = panels[0].get_legend_handles_labels()
    font = {"family": families(), "size": 10}
    figure.legend(*handles, loc="outside lower center", ncols=1, frameon=False, prop=font)
    return figure


def _at(run: Finished, *keys: str, form: str = ".4f") -> str:
    found: Any = run.result
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if found is None:
        return _NONE
    return format(found, form) if isinstance(found, float) else str(found)


def _accuracy(run: Finished, *keys: str) -> str:
    accuracy = _at(run, *keys, "accuracy")
    found: Any = run.result
    for key in keys:
        found = found.get(key, {})
    if accuracy == _NONE:
        return _NONE
    low, high = found["accuracy_interval"]
    return f"{accuracy} ({low:.3f} to {high:.3f})"


def _seconds(run: Finished) -> str:
    return duration(run.result["seconds"]["total"]) if "seconds" in run.result else _NONE


def _text(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: as wide as its cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    command_line.run("lib.compare", lambda: main(sys.argv[1:]))
