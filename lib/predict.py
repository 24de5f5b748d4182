"""Classifies images by a trained run.

    python -m lib.predict --workdir=RUN IMAGE_OR_FOLDER...

Exit codes: 0 all images are classified; 1 some could not be read or something not be written,
which is named on stderr while the rest is done, or there is a clear error; 2 bad usage.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lib.config import expanded, setting, written
from lib.errors import UserError
from lib.inference import command_line
from lib.inference.reading import Read, named_files, read_ahead
from lib.inference.tables import SUFFIXES, Row, table, unfinished
from lib.inference.views import view_count
from lib.reporting import plots
from lib.reporting.heatmap import overlay
from lib.runs import folder as run_folder
from lib.system import runtime, streams
from lib.system.atomic import fitting, replacing
from lib.system.progress import bar, say

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.inference.predictions import Prediction

_IN_GRID = 25  # images
_EXPLAINED = 640  # pixels, the longer side of an explanation at most
_COLUMNS = ("file", "class", "probability")


def main(arguments: Sequence[str]) -> int:
    """Does what the command line asks for, and returns the exit code.

    Raises:
        UserError: there is no such run or checkpoint, or something cannot be written.
    """
    options = _options(arguments)
    folder = options.workdir[0]
    if options.output or options.grid or options.explain is not None:
        streams.outlive_readers()
    saved = run_folder.require_saved(folder)
    others = [_alike(each, folder, saved) for each in options.workdir[1:]]
    explanations = _explanations(options)
    table_so_far = unfinished(options.output) if options.output else None
    for file in filter(None, (options.output, options.grid)):
        if os.path.isdir(file):
            raise UserError(f"{file} is a folder; expected the name of a file to write")
    _require_free([options.output, table_so_far, options.grid, explanations], options.force)
    for option, place in (
        ("output", options.output and options.output.parent),
        ("grid", options.grid and options.grid.parent),
        ("explain", explanations),
    ):
        if place:
            _make(option, place)

    problems = 0  # besides images that cannot be read

    def complain(text: str) -> None:
        nonlocal problems
        problems += 1
        _complain(text)

    paths = []
    for named in named_files(options.images, sys.stdin and sys.stdin.buffer):
        if isinstance(named, Path):
            paths.append(named)
        else:
            complain(str(named))
    by = f"the {saved.config.weights_in_use} of {folder}"
    if others:
        by = f"the mean of {len(others) + 1} runs, {folder} and others"
    if options.tta > 1:
        by += f", the mean of {options.tta} views of each"
    say(f"Predicting {len(paths)} images by {by}, {' or '.join(saved.facts['classes'])}")

    runtime.start(saved.config.threads, saved.config.seed)
    from lib.inference.predictions import predictions
    from lib.inference.trained import open_calibrated

    members = []
    for place, run in zip(options.workdir, (saved, *others), strict=True):
        opened, temperature = open_calibrated(
            place, run.config, saved.facts["classes"], options.checkpoint
        )
        members.append(opened)
        if temperature != 1:
            say(f"{place} is calibrated, by the temperature {temperature:.3g}")
    trained, *more = members
    done, first = 0, []
    with contextlib.ExitStack() as stack:
        show = _terminal(paths, trained.classes)
        add = None
        if options.output:
            columns = (*_COLUMNS, "explanation") if explanations else _COLUMNS
            add = stack.enter_context(table(options.output, columns))
        advance = stack.enter_context(bar("predicting", len(paths), "images"))
        reads = read_ahead(
            paths,
            trained.config.source_size_in_use,
            shown=_EXPLAINED if explanations else 0,
            limit=2 * trained.config.batch_size,
        )
        explain = bool(explanations)
        for each in predictions(trained, _sound(reads, advance), explain, more, options.tta):
            row = {
                "file": str(each.path),
                "class": each.name,
                "probability": each.probability,
                "probabilities": each.probabilities,
            }
            show(row)
            if explanations:
                name = fitting(f"{done:05d}_{each.path.stem}", ".png")
                try:
                    _explain(each, explanations / name)
                    row["explanation"] = str(explanations / name)
                except OSError as error:
                    row["explanation"] = ""
                    why = error.strerror or error
                    complain(f"'{each.path}' is not explained: {name} cannot be written ({why})")
            if add:
                try:
                    add(row)
                except UserError as error:
                    add = None
                    complain(str(error))
            if done < _IN_GRID:
                first.append((each.read.pixels, each.name, each.probability))
            done += 1
            advance(1)
        # Within the block, as the table, too, may fail to take its name at the end.
        if options.grid and first:
            pixels, names, probabilities = zip(*first, strict=True)
            figure = plots.classified(np.stack(pixels), names, probabilities, done)
            try:
                plots.save(figure, options.grid)
            except OSError as error:
                why = error.strerror or error
                complain(f"{setting('grid', options.grid)} cannot be written ({why})")
    unread = len(paths) - done
    say(f"{done} images predicted" + (f", {unread} could not be read" if unread else ""))
    return 1 if unread or problems else 0


def _sound(reads: Iterator[Read], advance: Callable[[int], None]) -> Iterator[Read]:
    """The images among what was read; the others are named."""
    for read in reads:
        if read.fault:
            _complain(f"'{read.path}' cannot be read: {read.fault}")
            advance(1)
        else:
            yield read


def _explain(prediction: "Prediction", path: Path) -> None:
    shown = overlay(prediction.read.shown, prediction.heat)
    with replacing(path) as temporary:
        Image.fromarray(shown).save(temporary)


def _terminal(paths: Sequence[Path], classes: Sequence[str]) -> Callable[[Row], None]:
    """What shows a row on the terminal, in columns that fit all but the longest names."""
    file = min(80, max([4, *(len(str(path)) for path in paths)]))
    name = max([5, *map(len, classes)])
    say(f"{'file':<{file}}  {'class':<{name}}  probability")
    return lambda row: say(
        f"{row['file']:<{file}}  {row['class']:<{name}}  {row['probability']:11.4f}"
    )


def _complain(text: str) -> None:
    say(f"python -m lib.predict: {text}", sys.stderr)


def _make(option: str, folder: Path) -> None:
    """Makes a folder before the long work, so that an option that cannot be met ends it early."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
        raise UserError(f"{setting(option)}: {folder} cannot be written ({why})") from error


def _explanations(options: argparse.Namespace) -> Path | None:
    if options.explain is None:
        return None
    return expanded(options.explain) if options.explain else options.workdir[0] / "explanations"


def _require_free(targets: Sequence[Path | None], force: bool) -> None:
    for path in filter(None, targets):
        try:
            taken = any(path.iterdir()) if path.is_dir() else path.exists()
        except OSError as error:  # a name that is too long, or a folder that is closed to us
            raise UserError(f"{path} cannot be written ({error.strerror})") from error
        if taken and not force:
            raise UserError(
                f"{path} exists already: give another name, or {setting('force')} to replace it"
            )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line.Parser("lib.predict", __doc__)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE_OR_FOLDER",
        help="folders are searched; - reads names from standard input, one per line",
    )
    parser.add_run(several=True)
    parser.add_argument(
        "--tta",
        type=_views,
        default=1,
        metavar="flip|K",
        help="average over an image and its mirror image, or over K views (2 to 12)",
    )
    parser.add_argument(
        "--output", type=_table, metavar="FILE", help="write the table as .csv, .json or .jsonl"
    )
    parser.add_argument(
        "--grid", type=_png, metavar="FILE.png", help=f"draw the first {_IN_GRID} images"
    )
    parser.add_argument(
        "--explain",
        metavar="FOLDER",
        help="write a Grad-CAM heat map over each image (default: RUN/explanations)",
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist already")
    # With an optional value argparse would take the image after a bare --explain for a folder.
    bare, empty = setting("explain"), setting("explain", "")
    options = parser.parse_args([empty if each == bare else each for each in arguments])
    runs = options.workdir
    if len({run.absolute() for run in runs}) < len(runs):
        parser.error(f"a {setting('workdir')} is given twice; give different runs")
    if len(runs) > 1 and options.checkpoint not in ("best", "latest"):
        received = setting("checkpoint", options.checkpoint)
        parser.error(f"{received} is of one run; expected best or latest for several")
    return options


def _alike(folder: Path, first: Path, saved: run_folder.Saved) -> run_folder.Saved:
    """Another run that is averaged with the first one.

    Raises:
        UserError: it cannot be.
    """
    other = run_folder.require_saved(folder)
    for name, mine, theirs in (
        ("classes", saved.facts["classes"], other.facts["classes"]),
        ("source_size", saved.config.source_size_in_use, other.config.source_size_in_use),
    ):
        if mine != theirs:
            raise UserError(
                f"{setting('workdir', folder)} has {name} {written(theirs)}, and {first}"
                f" {written(mine)}: only runs that have the same can be averaged"
            )
    return other


def _views(text: str) -> int:
    try:
        return view_count(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _table(text: str) -> Path:
    if Path(text).suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(SUFFIXES)}")
    return command_line.path(text)


def _png(text: str) -> Path:
    if Path(text).suffix != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png")
    return command_line.path(text)


if __name__ == "__main__":
    command_line.run("lib.predict", lambda: main(sys.argv[1:]))
