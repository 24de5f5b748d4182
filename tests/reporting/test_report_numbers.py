"""Which number stands where on the page, of a run in which all of them differ."""

import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from lib.config import Config
from lib.reporting.metrics import metrics
from lib.reporting.report import html
from tests.reporting.unlike import (
    HISTORY,
    LAST,
    THREE,
    THREE_CONFUSION,
    THREE_LEAST_CERTAIN,
    THREE_WORST,
    TWO,
    TWO_PRECISION_RECALL,
    TWO_RELIABILITY,
    TWO_ROC,
    Explained,
    result,
)


def page(predictions, explain=None):
    """The sections of the page, by title; the first one, without a title, under its name."""
    right = predictions.labels == predictions.predicted
    test = {
        "loss": 0.66,
        "accuracy": float(np.mean(right)),
        "accuracy_interval": [0.313, 0.832],
        "count": len(right),
        **metrics(
            predictions.labels,
            predictions.predicted,
            predictions.probabilities,
            predictions.classes,
        ),
    }
    run = {
        "flags": Config(workdir="runs/unlike").to_json(),
        "facts": {
            "classes": list(predictions.classes),
            "images": {"train": 70, "validation": 40, "test": len(right)},
            "data_sha256": "d" * 64,
        },
        "made_by": {"python": "3.11.7"},
    }
    layers = {
        "head": [("stem", "1-2", 990, 0), ("head", "", 1200, 1200)],
        "finetune": [("stem", "1-2", 990, 330), ("head", "", 1200, 1200)],
    }
    source = html(run, HISTORY, layers, result(test), predictions, explain or Explained())
    head, *sections = source.split("<section>")
    return {"top": head} | {
        re.match("<h2>(.*?)</h2>", section).group(1): section for section in sections
    }


def rows(section):
    """The cells of all tables of a section, row by row."""
    return [
        [
            unescape(re.sub("<[^>]*>", " ", cell)).strip()
            for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)
        ]
        for row in re.findall("<tr>(.*?)</tr>", section)
    ]


def charts(section):
    return [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", section)]


@pytest.fixture(scope="module")
def three():
    explain = Explained()
    return page(THREE, explain), explain.asked


def test_the_lead_is_the_test_set_by_the_weights_of_the_best_epoch(three):
    lead = re.sub("<[^>]*>", "", three[0]["top"])
    assert "60.0 % of 10 test images right (95 % interval 31.3 to 83.2 %)" in lead
    assert "with the weights of epoch 2, the one of the lowest validation loss" in lead
    assert "4 epochs, 28 steps" in lead


def test_the_results_distinguish_the_last_epoch_the_best_and_the_test(three):
    found = rows(three[0]["Results"])
    assert found[1:5] == [
        ["training, last epoch", "0.8500", "", "0.5000", ""],
        ["validation, last epoch", "0.6000", "0.4460 to 0.7360", "0.7200", "40"],
        ["validation, best epoch (2)", "0.7500", "0.5980 to 0.8580", "0.7000", "40"],
        ["test, weights of the best epoch", "0.6000", "0.3130 to 0.8320", "0.6600", "10"],
    ]


def test_the_figures_of_a_class_are_its_own(three):
    found = {row[0]: row[1:] for row in rows(three[0]["Results"])}
    # Precision by the column of the confusion matrix, recall by its row, F1 by both.
    assert found["ants"][:3] + found["ants"][-1:] == ["0.6667", "0.8000", "0.7273", "5"]
    assert found["bees"][:3] + found["bees"][-1:] == ["0.5000", "0.3333", "0.4000", "3"]
    assert found["cicadas"][:3] + found["cicadas"][-1:] == ["0.5000", "0.5000", "0.5000", "2"]
    assert found["balanced accuracy"] == ["0.5444"]


def test_a_row_of_the_matrix_is_a_true_class(three):
    _, *found = rows(three[0]["Confusion"])
    for name, counts, row in zip(THREE.classes, THREE_CONFUSION, found, strict=True):
        shares = [f"{count}   {count / sum(counts) * 100:.0f} %" for count in counts]
        assert [re.sub(" +", " ", cell) for cell in row] == [
            name,
            *(re.sub(" +", " ", share) for share in shares),
        ]


def test_each_gallery_shows_its_own_images_with_heat_for_what_was_predicted(three):
    sections, asked = three
    for title, positions, of in (
        ("The surest mistakes", THREE_WORST, asked[0]),
        ("The least certain predictions", THREE_LEAST_CERTAIN, asked[1]),
    ):
        assert re.findall('alt="(.*?)"', sections[title]) == [THREE.names[n] for n in positions]
        assert of == [(n, THREE.predicted[n]) for n in positions]
    captions = re.findall("<figcaption>(.*?)</figcaption>", sections["The surest mistakes"])
    assert re.sub("<[^>]*>", " ", captions[0]).split() == [
        *("bees", "95.0", "%", ",", "true:", "cicadas", "cicadas/8.jpg"),
    ]
    right = re.findall('class="(right|wrong)"', sections["The least certain predictions"])
    expected = THREE.predicted[THREE_LEAST_CERTAIN] == THREE.labels[THREE_LEAST_CERTAIN]
    assert right == ["right" if each else "wrong" for each in expected]


def test_the_curves_are_those_of_their_split_and_fine_tuning_starts_after_the_last_head(three):
    accuracy, loss = charts(three[0]["Curves"])
    for chart, quantity in ((accuracy, "accuracy"), (loss, "loss")):
        noted = {circle.findtext("title") for circle in chart.findall("circle")}
        assert noted == {
            f"{split}, epoch {row.epoch}: {getattr(row, f'{split}_{quantity}'):.4f}"
            for split in ("train", "validation")
            for row in HISTORY
            if split == "validation" or row.epoch
        }
        (mark,) = (path for path in chart.findall("path") if path.get("class") == "mark")
        across = {
            circle.findtext("title").split(":")[0]: circle.get("cx")
            for circle in chart.findall("circle")
        }
        assert mark.get("d").startswith(f"M{across[f'train, epoch {LAST - 1}']} ")


def test_a_phases_layers_and_speed_are_its_own(three):
    sections, _ = three
    trained = re.findall("<summary>(.*?)</summary>", sections["What was trained"])
    assert trained == [
        "Phase head: 1,200 of 2,190 parameters trained",
        "Phase finetune: 1,530 of 2,190 parameters trained",
    ]
    assert rows(sections["Speed"])[1:] == [
        ["start", "9 s", ""],
        ["head", "1 min 1 s", "225 images/s"],
        ["finetune", "42 s", "90 images/s"],
        ["test", "5 s", ""],
        ["total", "1 min 53 s", ""],
    ]


def test_the_curves_over_thresholds_are_those_of_the_second_class():
    roc, precision_recall, reliability = charts(page(TWO)["Thresholds and trust"])
    # The line of chance goes from (0, 0) to (1, 1), and all three charts have the same axes.
    (x0, y0), (x1, y1) = points_of(roc, "soft")

    def read(chart, style):
        return [((x - x0) / (x1 - x0), (y - y0) / (y1 - y0)) for x, y in points_of(chart, style)]

    assert "ROC: true positive rate of bees" in roc.get("aria-label")
    assert "Precision of bees" in precision_recall.get("aria-label")
    np.testing.assert_allclose(read(roc, "second"), TWO_ROC, atol=2e-3)
    np.testing.assert_allclose(read(precision_recall, "second"), TWO_PRECISION_RECALL, atol=2e-3)
    np.testing.assert_allclose(read(reliability, "first loose"), TWO_RELIABILITY, atol=2e-3)


def points_of(chart, style):
    (line,) = (each for each in chart.findall("polyline") if each.get("class") == style)
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]
