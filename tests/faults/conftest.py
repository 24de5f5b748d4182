"""What the tests of stopped runs share: a small run that nothing disturbs, to be compared with."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.cats_and_dogs import COUNTS, NAME
from tests.faults.program import Outcome, Program
from tests.http_server import Answer, serving


@dataclasses.dataclass(frozen=True)
class Reference:
    """A run that was never stopped.

    Attributes:
        program: what was started.
        folder: of the run.
        outcome: what it came to.
        places: what it reached, in order.
        archive: the data set as a server has it.
    """

    program: Program
    folder: Path
    outcome: Outcome
    places: list[str]
    archive: bytes


@pytest.fixture(scope="session")
def reference(tmp_path_factory, tiny_backbone) -> Reference:
    """A run of three epochs of three steps each, from the download on."""
    home = tmp_path_factory.mktemp("reference")
    archive = _archive()
    program = Program(
        (
            "--dataset=cats_and_dogs",
            f"--data_dir={home / 'data'}",
            f"--backbone={tiny_backbone}",
            "--scaling=tf",
            "--image_size=32",
            "--batch_size=4",
            "--train_limit=12",
            "--eval_limit=12",
            "--head_epochs=1",
            "--finetune_epochs=2",
            "--head_learning_rate=0.01",
            "--finetune_learning_rate=0.0001",
            "--fine_tune_at=block_16_expand",
            "--checkpoint_every=2",
        ),
        home / "cache",
    )
    trace = home / "trace"
    with serving(Answer(archive)) as server:
        program.with_flags(f"--dataset_url={server.url}").finish(home / "run", trace)
    places = trace.read_text().splitlines()
    return Reference(program, home / "run", Outcome.of(home / "run"), places, archive)


def _archive() -> bytes:
    """The archive of the data set, as large in number and small in bytes as may be."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for folder, count in COUNTS.items():
            subject = Path(folder).name.removesuffix("s")
            for number in range(count):
                name = f"{NAME}/{folder}/{subject}.{number}.jpg"
                file.writestr(name, _jpeg(subject == "cat", folder, number))
    return packed.getvalue()


def _jpeg(is_cat: bool, folder: str, number: int) -> bytes:
    random = np.random.default_rng([is_cat, len(folder), number])
    pixels = random.integers(0, 240, (8, 8, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(encoded, "JPEG")
    return encoded.getvalue()
