"""Checks the answers of an exported model, called in every way in a process of its own."""

import base64
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.config import setting
from lib.data.decoding import decode, resize
from lib.errors import UserError
from lib.inference import made_up, outside
from lib.inference.formats import WayIn
from lib.inference.preprocessing import decoded
from lib.inference.trained import Classifier

_ROOT = Path(__file__).resolve().parents[2]
# How far a probability may be from the run's, or from that of an image by itself: sums of another
# order, and resizing that rounds a half the other way. Weights in half precision move it further.
_NEAR = 0.02
_HALVES_NEAR = 0.05


@dataclasses.dataclass(frozen=True)
class Calls:
    """How an exported model was called.

    Attributes:
        ways: of calling, all of which gave the run's answers.
        reads: the kinds of image files that it decodes as training does.
        refuses: the kinds that it refuses, and the reason that it gives.
    """

    ways: tuple[str, ...]
    reads: tuple[str, ...]
    refuses: dict[str, str]


def check_calls(
    format: str,
    quantize: str,
    folder: Path,
    ways: Sequence[WayIn],
    classify: Classifier,
    size: int,
    images: Sequence[bytes],
) -> Calls:
    """Calls an export in every way that a person would, from outside of this project.

    Args:
        format: of the export.
        quantize: how its numbers were rounded.
        folder: where it lies; it is called as a copy elsewhere.
        ways: into the same export, in this process.
        classify: the network of the run.
        size: side of the images that the export takes without resizing them.
        images: files to try besides those that are made up.

    Raises:
        UserError: it answers wrongly, or not at all, or reads a file in another way than training.
    """
    files = made_up.files()
    shown = [decode(file) for file in (*images, *list(files.values())[:4])]
    ready = np.stack([resize(image, size) for image in shown])
    wide = np.stack([np.asarray(image.resize((size + 31, size + 14))) for image in shown])
    answers, report = _called(format, folder, ready, wide, list(files.values()))

    by_name = {way.name: way for way in ways}
    way = by_name.get("pictures") or by_name["resized"]
    if quantize == "int8":
        expected = {"ready": [way.probabilities(one[np.newaxis]) for one in ready]}
    else:
        expected = {
            "ready": classify_all(classify, ready),
            "pictures": [way.probabilities(one[np.newaxis]) for one in wide],
        }
    if "encoded" in by_name:
        decoded_files = [np.asarray(decode(file))[np.newaxis] for file in files.values()]
        expected["files"] = [way.probabilities(image) for image in decoded_files]

    near = _NEAR if quantize in ("none", "int8") else _HALVES_NEAR
    wrong = [
        f"{name} fails: {' '.join(why.split())[:200]}" for name, why in report["failed"].items()
    ]
    refuses = {}
    for name, given in answers.items():
        refused = report["refused"].get(name, [""] * len(given))
        right = np.abs(given - expected[name.split(":")[0]]).max(axis=1) <= near
        kinds = (
            list(files) if name.startswith("files") else [f"image {i}" for i in range(len(given))]
        )
        for kind, fits, reason in zip(kinds, right, refused, strict=True):
            if reason:
                refuses[kind] = reason
            elif not fits:
                wrong.append(f"{name} answers otherwise for {kind}")
    if "encoded" in by_name:
        wrong += [f"{kind} is decoded otherwise" for kind in _decoded_otherwise(files)]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"the export does not answer as the run does in a process of its own:"
            f" {'; '.join(wrong[:3])}{more}: nothing was written; give another"
            f" {setting('format')} or {setting('quantize')}"
        )
    reads = [kind for kind in files if kind not in refuses] if "encoded" in by_name else []
    return Calls(tuple(answers), tuple(reads), refuses)


def classify_all(classify: Classifier, ready: np.ndarray) -> np.ndarray:
    """The network's probabilities [n, classes] of images of its size, one after the other."""
    return np.concatenate([classify(one[np.newaxis])[1] for one in ready])


def _called(
    format: str, folder: Path, ready: np.ndarray, wide: np.ndarray, files: Sequence[bytes]
) -> tuple[dict[str, np.ndarray], dict]:
    """What the export answers in another process: by way of calling, and what `outside` reports."""
    with tempfile.TemporaryDirectory(prefix="thaw-") as place:
        exchange = Path(place)
        np.savez(exchange / "given.npz", ready=ready, pictures=wide)
        encoded = [base64.b64encode(file).decode() for file in files]
        (exchange / "files.json").write_text(json.dumps(encoded))
        # Copies: neither may it be tied to where it was written, nor see this project next to it.
        shutil.copytree(folder, exchange / "export")
        shutil.copy(outside.__file__, exchange / "outside.py")
        # By paths from here on: TensorFlow takes some characters of a path for a pattern.
        command = [sys.executable, "outside.py", format, "export", "."]
        done = subprocess.run(
            command, cwd=exchange, env=_surroundings(), capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(
                f"the export cannot be loaded in a process of its own ({last}): nothing was"
                f" written; give another {setting('format')}"
            )
        with np.load(exchange / "answers.npz") as archive:
            answers = dict(archive)
        return answers, json.loads((exchange / "report.json").read_text())


def _surroundings() -> dict[str, str]:
    """The environment, without this project on the path where modules are looked for."""
    given = dict(os.environ)
    paths = given.pop("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if path and Path(path).resolve() != _ROOT]
    return given | ({"PYTHONPATH": os.pathsep.join(others)} if others else {})


def _decoded_otherwise(files: dict[str, bytes]) -> list[str]:
    """The kinds of files that TensorFlow decodes to other pixels than training."""
    found = []
    for kind, file in files.items():
        image, refused = decoded(file)
        if not refused.numpy() and not np.array_equal(image, np.asarray(decode(file))):
            found.append(kind)
    return found
