import base64
import dataclasses
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from lib.config import Config
from lib.reporting.metrics import metrics
from lib.reporting.predictions import Predictions
from lib.reporting.report import html
from lib.runs.history import Epoch

HOSTILE = "<script>alert('\"&')</script>"


def page(classes, names=None, history=None, augmentation=None):
    """The page of a run in which the images of the last class are taken for the first."""
    count = 4 * len(classes)
    labels = np.arange(count) % len(classes)
    predicted = np.where(labels == len(classes) - 1, 0, labels)
    probabilities = np.full((count, len(classes)), 0.2 / (len(classes) - 1))
    probabilities[np.arange(count), predicted] = 0.8
    predictions = Predictions(
        classes=classes,
        names=names or [f"{n}.jpg" for n in range(count)],
        pixels=lambda at: np.zeros((len(at), 16, 16, 3), np.uint8),
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
    )
    measured = {"loss": 0.4, "accuracy": 0.75, "accuracy_interval": [0.5, 0.9], "count": count}
    result = {
        "epoch": 2,
        "step": 126,
        "weights_sha256": "c" * 64,
        "train": {"loss": 0.5, "accuracy": 0.7},
        "validation": measured,
        "best": {"epoch": 2, "step": 126, "validation": measured},
        "test": measured | metrics(labels, predicted, probabilities, classes),
        "seconds": {"head": 60.0, "total": 60.0},
        "images_per_second": {"head": 80.0},
        "peak_memory_mb": 900.0,
    }
    run = {
        "flags": Config(workdir="runs/a b", dataset="my images", seed=3).to_json(),
        "facts": {
            "classes": classes,
            "images": {"train": 20, "validation": 10, "test": count},
            "data_sha256": "d" * 64,
        },
        "made_by": {"python": "3.11.7", "commit": None},
    }
    rows = history or [
        Epoch.untrained(0.9, 0.4),
        Epoch(1, "head", 63, 1e-4, 0.6, 0.6, 0.5, 0.7, 80.0, 30.0),
        Epoch(2, "finetune", 126, 1e-5, 0.5, 0.7, 0.4, 0.75, 60.0, 40.0),
    ]
    layers = {"head": [("Conv1", "1-2", 992, 0), ("head", "", 1281, 1281)]}
    heat = lambda images, _: np.zeros((len(images), 4, 4))  # noqa: E731
    return html(run, rows, layers, result, predictions, heat, augmentation)


def plain(source):
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", source))


def test_the_page_says_what_was_run_and_what_came_of_it():
    text = plain(page(["ants", "bees"]))
    for said in (
        "75.0 % of 8 test images right (95 % interval 50.0 to 90.0 %)",
        "20 for train, 10 for validation, 8 for test",
        "Phase head: 1,281 of 2,273 parameters trained",
        "80 images/s",
        "python train.py &#x27;--workdir=runs/a b&#x27; --seed=3 &#x27;--dataset=my images&#x27;",
    ):
        assert said in text


def test_the_augmented_images_stand_beside_the_operations(tmp_path):
    figure = tmp_path / "augmentation.png"
    assert "augmented training images" not in page(["ants", "bees"], augmentation=figure)
    Image.new("RGB", (64, 48), "red").save(figure)
    source = page(["ants", "bees"], augmentation=figure)
    assert 'alt="augmented training images"' in source and "flip|rotate(0.2)" in plain(source)
    encoded = re.search('src="data:image/jpeg;base64,([^"]*)"[^>]*augmented', source).group(1)
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (32, 24)


def test_a_flag_at_its_default_is_no_part_of_the_command():
    command = re.search("<pre>(.*?)</pre>", page(["ants", "bees"])).group(1)
    assert "batch_size" not in command


def test_names_from_the_users_files_are_escaped_everywhere():
    names = [HOSTILE] * 8
    source = page([HOSTILE, "bees"], names)
    assert "<script" not in source
    assert source.count("&lt;script&gt;") > 10


def test_a_name_that_is_no_text_does_not_end_the_run():
    source = page(["ants", "bees"], [f"\udcff{n}.jpg" for n in range(8)])
    assert "\\udcff" in source and source.encode("utf-8")


@pytest.mark.parametrize("many", [3, 20, 21])
def test_the_matrix_of_many_classes_becomes_a_list_of_the_commonest_confusions(many):
    classes = [f"class {k}" for k in range(many)]
    text = plain(page(classes))
    assert ("true class, taken for" in text) == (many > 20)
    if many > 20:
        assert f"class {many - 1}, class 0 4" in text


def test_colours_follow_the_readers_choice_of_light_or_dark():
    source = page(["ants", "bees"])
    assert "prefers-color-scheme: dark" in source and 'name="viewport"' in source
    # No colour stands outside the style sheet, where each has a dark twin.
    assert not re.search("#[0-9a-fA-F]{6}", source.partition("</style>")[2])


def test_a_loss_that_is_not_finite_leaves_a_gap_in_the_curve():
    history = [
        Epoch.untrained(math.nan, 0.4),
        dataclasses.replace(Epoch.untrained(0.5, 0.5), epoch=1, phase="head"),
    ]
    source = page(["ants", "bees"], history=history)
    assert "validation, epoch 1: 0.5000" in source and "nan" not in plain(source)
