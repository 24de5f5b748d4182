"""Exports a trained run: as a SavedModel, a Keras model, or for TensorFlow Lite.

    python -m lib.export --workdir=RUN --format=saved_model|keras|tflite

What was written is loaded again and compared with the run on its validation images, and called in
every way that a person would, in a process of its own; it is put in place only if all agree. Exit
codes: 0 done; 1 a clear error; 2 bad usage.
"""

import argparse
import contextlib
import dataclasses
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.config import Config, setting
from lib.data.dataset import Dataset, Subset, open_dataset
from lib.errors import UserError
from lib.inference import command_line
from lib.runs import folder as run_folder
from lib.system import runtime, streams
from lib.system.atomic import fitting
from lib.system.files import write_json
from lib.system.literal import is_literal, literal
from lib.system.progress import bar, say

if TYPE_CHECKING:  # it imports TensorFlow, which `runtime.start` must do first
    from lib.inference.agreement import Agreement
    from lib.inference.calls import Calls

REPORT = "export.json"
# How many labels may differ. Rounding to 8 bits moves more images across the threshold.
MAY_DISAGREE = {"none": 0.005, "float16": 0.005, "int8": 0.02}
_CALIBRATION = 200  # training images
_CALLED = 4  # validation images with which every way of calling is tried


def main(arguments: Sequence[str]) -> int:
    """Does what the command line asks for, and returns the exit code.

    Raises:
        UserError: there is no such run, its images are gone, the output is taken or cannot be
            written, or the export does not say the same as the run.
    """
    options = _options(arguments)
    streams.outlive_readers()
    folder, output = options.workdir, options.output
    saved = run_folder.require_saved(folder)
    config = saved.config
    _require_free(output, options.force)
    say(f"Exporting the {config.weights_in_use} of {folder} as {options.format} to {output}")
    dataset = None
    if not options.no_check or options.quantize == "int8":
        config = dataclasses.replace(config, dataset=options.dataset or config.dataset)
        dataset = _opened(config, folder, saved, options.quantize)

    runtime.start(config.threads, config.seed)
    from lib.inference import formats
    from lib.inference.agreement import agreements
    from lib.inference.calls import check_calls
    from lib.inference.trained import make_classifier, open_calibrated

    classes = saved.facts["classes"]
    trained, temperature = open_calibrated(folder, config, classes, options.checkpoint)
    if temperature != 1:
        say(f"Its probabilities are calibrated, by the temperature {temperature:.3g}")
    with _in_place_of(output) as temporary:
        if options.format == "saved_model":
            with literal(temporary) as place:
                formats.write_saved_model(trained, place)
            load = formats.load_saved_model
        elif options.format == "keras":
            formats.write_keras(trained, temporary)
            load = formats.load_keras
        else:
            formats.write_tflite(
                trained, temporary, options.quantize, lambda: _calibration(dataset)
            )
            load = formats.load_tflite
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())

        found, shown, classify = [], [], make_classifier(trained)
        with _elsewhere(temporary) as copy:
            ways = load(copy, config)
            if not options.no_check:
                subset = _first(dataset.validation, options.check)
                found = agreements(ways, classify, subset, config.batch_size, bar)
                say(_table(found, size))
                _require_agreement(found, MAY_DISAGREE[options.quantize])
                paths = [subset.store.images[row].path for row in subset.rows[:_CALLED]]
                shown = [path.read_bytes() for path in paths]
            side = config.source_size_in_use
            calls = check_calls(options.format, options.quantize, copy, ways, classify, side, shown)
        say(_described(calls))
        write_json(
            temporary / REPORT,
            {
                "run": str(folder.absolute()),
                "checkpoint": trained.checkpoint.name,
                "temperature": temperature,
                "format": options.format,
                "quantize": options.quantize,
                "classes": trained.classes,
                "image_size": config.image_size,
                "source_size": config.source_size_in_use,
                "bytes": size,
                "checks": [
                    dataclasses.asdict(each) | {"disagreement": each.disagreement} for each in found
                ],
                "calls": dataclasses.asdict(calls),
                "made_by": runtime.provenance(),
            },
        )
    if options.no_check:
        say(
            "warning: the export was not compared with the run on its images"
            f" ({setting('no_check')})"
        )
    if options.format == "saved_model" and not is_literal(output.absolute()):
        say(
            "warning: TensorFlow loads no SavedModel by this path (for *?[]\\ or bytes that are not"
            " UTF-8): copy it to another place first, or load it as '.' from inside of the folder"
        )
    say(f"Exported to {output}")
    return 0


def _opened(config: Config, folder: Path, saved: run_folder.Saved, quantize: str) -> Dataset:
    """The images of a run.

    Raises:
        UserError: they are not there, or are others.
    """
    need = "set the ranges of int8" if quantize == "int8" else "check the export"
    ways = f"give {setting('dataset', 'FOLDER')} where they are now, which is needed to {need}"
    if quantize != "int8":
        ways += f", or {setting('no_check')} to export without"
    if config.dataset not in ("cats_and_dogs", "drawn") and not Path(config.dataset).is_dir():
        raise UserError(f"the images of {folder} are no longer in {config.dataset}: {ways}")
    try:
        dataset = open_dataset(config, bar)
        run_folder.require_same_images(folder, saved, dataset)
    except UserError as error:
        raise UserError(f"{error}; if the run's images are elsewhere, {ways}") from error
    return dataset


def _calibration(dataset: Dataset) -> np.ndarray:
    """Training images for int8: with others, what is checked would not be new to it."""
    return dataset.train.pixels(np.arange(min(_CALIBRATION, len(dataset.train))))


@contextlib.contextmanager
def _elsewhere(folder: Path) -> Iterator[Path]:
    """Yields a copy of an export in another place, as it is moved about by people."""
    with tempfile.TemporaryDirectory(prefix="thaw-") as place:
        copy = shutil.copytree(folder, Path(place) / "export")
        with literal(copy) as readable:
            yield readable


def _described(calls: "Calls") -> str:
    """Which ways of calling were tried, and which kinds of files are refused."""
    line = f"Called in {len(calls.ways)} ways by a process of its own: the same answers"
    if calls.reads:
        line += f"; {len(calls.reads)} kinds of files are read as in training"
    return line + "".join(f"\n  refused: {kind} ({why})" for kind, why in calls.refuses.items())


def _first(subset: Subset, count: int) -> Subset:
    """The first images of a subset; its order mixes the classes evenly."""
    return dataclasses.replace(
        subset,
        names=subset.names[:count],
        labels=subset.labels[:count],
        rows=subset.rows[:count],
    )


def _table(found: Sequence["Agreement"], size: int) -> str:
    lines = [
        f"{'takes':<24}{'images':>9}{'same label':>12}{'largest difference':>20}"
        f"{'accuracy':>10}{'of the run':>12}{'ms per image':>16}{'MB':>7}"
    ]
    lines += [
        f"{each.takes:<24}{each.images:>9}{1 - each.disagreement:>12.2%}"
        f"{each.largest_difference:>20.2g}{each.accuracy:>10.4f}{each.accuracy_of_run:>12.4f}"
        f"{each.milliseconds:>16.1f}{size / 1e6:>7.1f}"
        for each in found
    ]
    return "\n".join(lines)


def _require_agreement(found: Sequence["Agreement"], limit: float) -> None:
    worst = max(found, key=lambda each: each.disagreement)
    if worst.disagreement > limit:
        raise UserError(
            f"the export gives {worst.disagreeing} of {worst.images} images another class than"
            f" the run ({worst.takes}), and at most {limit:.1%} may differ: nothing was written;"
            f" give another {setting('format')} or {setting('quantize')}"
        )


def _require_free(output: Path, force: bool) -> None:
    """Refuses to write over anything, and with `force` over anything but an export."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / REPORT).is_file():
        raise UserError(
            f"{setting('output', output)} exists and is no export: give a new or empty folder, or"
            f" {setting('force')} with that of an export"
        )
    if not force:
        raise UserError(
            f"{setting('output', output)} holds an export: give another folder, or"
            f" {setting('force')}"
        )


@contextlib.contextmanager
def _in_place_of(output: Path) -> Iterator[Path]:
    """Yields a new folder that takes the place of `output` when the block ends well."""
    target = output.absolute()
    temporary = target.with_name(fitting(f".{target.name}", f".{secrets.token_hex(4)}.partial"))
    before = temporary.with_suffix(".before")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.rename(before)
        temporary.rename(target)
    except OSError as error:
        raise UserError(
            f"{setting('output', output)} cannot be written ({error.strerror or error}): give a"
            " folder that can be"
        ) from error
    finally:
        if before.exists() and not target.exists():  # interrupted between the two renames
            before.rename(target)
        for leftover in (temporary, before):
            shutil.rmtree(leftover, ignore_errors=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line.Parser("lib.export", __doc__)
    parser.add_run()
    parser.add_argument("--format", required=True, choices=("saved_model", "keras", "tflite"))
    parser.add_argument(
        "--quantize",
        default="none",
        choices=tuple(MAY_DISAGREE),
        help="for tflite: float16 halves the size, int8 quarters it (default: none)",
    )
    parser.add_argument(
        "--output",
        type=command_line.path,
        metavar="FOLDER",
        help="a new one (default: RUN/export/FORMAT)",
    )
    parser.add_argument(
        "--check",
        default=500,
        type=_positive,
        metavar="N",
        help="validation images to compare the export on (default: 500)",
    )
    parser.add_argument(
        "--dataset",
        type=_dataset,
        metavar="FOLDER",
        help="where the run's images are now (default: where they were)",
    )
    parser.add_argument(
        "--no_check",
        action="store_true",
        help="export without comparing on images",
    )
    parser.add_argument("--force", action="store_true", help="replace an export")
    options = parser.parse_args(arguments)
    if options.quantize != "none" and options.format != "tflite":
        received, needed = setting("quantize", options.quantize), setting("format", "tflite")
        parser.error(f"{received} is for {needed} alone")
    options.output = options.output or options.workdir / "export" / options.format
    return options


def _dataset(text: str) -> str:
    return text if text in ("cats_and_dogs", "drawn") else str(command_line.path(text).absolute())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    command_line.run("lib.export", lambda: main(sys.argv[1:]))
