"""Whole runs of other networks of Keras: killed and resumed, predicted with, exported."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lib import predict
from lib.data.decoding import load
from lib.inference import formats
from lib.inference.trained import open_trained
from lib.runs import folder as run_folder
from tests.model.networks import lively
from tests.runs.conftest import train
from tests.runs.results import assert_same_outcome

FAMILIES = ("mobilenet_v3_small", "efficientnet_b0", "convnext_tiny")
# Two epochs of three steps; killed in the last one, behind a checkpoint in the middle of an epoch.
SHORT = ("--image_size=32", "--batch_size=8", "--head_epochs=1", "--finetune_epochs=1")
SHORT += ("--checkpoint_every=5", "--threads=2", "--head_learning_rate=0.001", "--augment=flip")
SHORT += ("--finetune_thaw=20%",)
KILLED = "step@6"
FORMATS = ("saved_model", "keras", "tflite")

# What a person does who has the three files and nothing of this project.
STRANGER = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

for line in sys.stdin:
    home = Path(line.rstrip())
    images = np.load(home / "images.npy")
    saved = tf.saved_model.load(str(home / "saved_model")).signatures["pictures"]
    model = tf.keras.models.load_model(home / "keras" / "model.keras")
    lite = Interpreter(str(home / "tflite" / "model.tflite")).get_signature_runner("resized")
    one_by_one = [lite(pictures=image[np.newaxis])["probabilities"] for image in images]
    np.savez(
        home / "answers.npz",
        saved_model=saved(pictures=tf.constant(images))["probabilities"],
        keras=model(images),
        tflite=np.concatenate(one_by_one),
    )
    print("answered", flush=True)
"""


@dataclass(frozen=True)
class Family:
    """A run of a network, and the same after a kill."""

    whole: Path
    killed: Path


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, two_classes, tmp_path_factory):
    home = tmp_path_factory.mktemp("family")
    lively(request.param, size=32).backbone.save_weights(home / "lively.weights.h5")
    flags = (f"--dataset={two_classes}", f"--backbone={request.param}", *SHORT)
    flags += (f"--weights={home / 'lively.weights.h5'}",)
    train(*flags, f"--workdir={home / 'whole'}")
    train(*flags, f"--workdir={home / 'killed'}", fault=KILLED, code=-9)
    assert "Resuming" in train(*flags, f"--workdir={home / 'killed'}").out
    yield Family(home / "whole", home / "killed")
    shutil.rmtree(home)  # up to a gigabyte


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A process that knows nothing of this project; it is given folders of exports."""
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(
        [sys.executable, "-c", STRANGER],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def predictions(family, two_classes):
    """What `lib.predict` says of the images that were not trained on: file, class, probability."""
    output = family.whole.parent / "out.csv"
    why = family.whole.parent / "why"
    arguments = [f"--workdir={family.whole}", f"--output={output}", f"--explain={why}"]
    assert predict.main([*arguments, str(two_classes / "validation")]) == 0
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(why.iterdir())) == 20
    return rows


def test_a_killed_run_ends_in_the_same_bits(family):
    assert_same_outcome(family.killed, family.whole)


def test_an_image_is_predicted_to_the_bits_of_the_evaluation(family, predictions, two_classes):
    found = {row["file"]: (row["class"], float(row["probability"])) for row in predictions}
    assert len({probability for _, probability in found.values()}) > 10  # else nothing is shown
    with open(family.whole / "predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            expected = row["predicted_class"], float(row["probability"])
            assert found[str(two_classes / row["file"])] == expected


def test_what_is_exported_says_the_same_where_nobody_knows_the_run(family, predictions, stranger):
    home = family.whole.parent
    saved = run_folder.require_saved(family.whole)
    trained = open_trained(family.whole, saved.config, saved.facts["classes"], "best")
    for format in FORMATS:
        (home / format).mkdir()
    formats.write_saved_model(trained, home / "saved_model")
    formats.write_keras(trained, home / "keras")
    formats.write_tflite(trained, home / "tflite", "none", lambda: None)
    np.save(home / "images.npy", [load(Path(row["file"]), 32) for row in predictions])
    print(home, file=stranger.stdin, flush=True)
    assert stranger.stdout.readline() == "answered\n"
    with np.load(home / "answers.npz") as answers:
        for format in FORMATS:
            for row, found in zip(predictions, answers[format], strict=True):
                probability = found[trained.classes.index(row["class"])]
                assert probability == pytest.approx(float(row["probability"]), abs=1e-4), format
