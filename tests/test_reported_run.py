"""What a run shows: TensorBoard asked over HTTP, the page, the comparison with another run."""

import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lib import compare
from lib.config import Config
from lib.data.dataset import open_dataset
from lib.runs.history import read_history

ROOT = Path(__file__).parents[1]
SMALL = [
    *("--image_size=32", "--alpha=0.35", "--weights=none", "--batch_size=8"),
    *("--head_epochs=1", "--finetune_epochs=1", "--head_learning_rate=0.01"),
]


@contextlib.contextmanager
def silent(*_):
    yield lambda *_: None


def thaw(*arguments):
    command = [sys.executable, "train.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, two_classes):
    """A folder with a run of both phases."""
    root = tmp_path_factory.mktemp("runs")
    done = thaw(*SMALL, "--histograms", f"--dataset={two_classes}", f"--workdir={root / 'first'}")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def server(runs):
    """The address of a TensorBoard that has read the runs."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={runs}", "--host=127.0.0.1"]
    # Loaded before it serves, and by the part of it that is Python, which needs no other process.
    command += ["--port=0", "--reload_interval=0", "--reload_task=blocking", "--load_fast=false"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            pytest.fail("TensorBoard did not start")
        yield found.group()
        process.terminate()


def ask(server, route, **query):
    url = f"{server}data/plugin/{route}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def test_tensorboard_serves_the_very_numbers_of_the_history(server, runs):
    history = read_history(runs / "first" / "history.csv")
    for split in ("train", "validation"):
        rows = [row for row in history if split == "validation" or row.epoch > 0]
        for tag in ("loss", "accuracy"):
            run = f"first/tensorboard/{split}"
            series = ask(server, "scalars/scalars", run=run, tag=tag)
            expected = [(row.step, np.float32(getattr(row, f"{split}_{tag}"))) for row in rows]
            assert [(step, np.float32(value)) for _, step, value in series] == expected


def test_tensorboard_shows_the_splits_of_a_quantity_in_one_chart(server):
    layout = ask(server, "custom_scalars/layout")
    charts = {chart["title"]: chart for each in layout["category"] for chart in each["chart"]}
    assert list(charts)[:2] == ["loss", "accuracy"]
    assert charts["loss"]["multiline"]["tag"] == ["^loss$"]


def test_tensorboard_has_images_and_curves_of_every_epoch(server, runs):
    steps = [row.step for row in read_history(runs / "first" / "history.csv")]
    of_validation = {"run": "first/tensorboard/validation"}
    for tag in ("predictions", "mistakes"):
        images = ask(server, "images/images", tag=tag, sample=0, **of_validation)
        assert [each["step"] for each in images] == steps
    curves = ask(server, "pr_curves/pr_curves", tag="precision_recall/pr_curves", **of_validation)
    assert [each["step"] for each in curves["first/tensorboard/validation"]] == steps
    of_test = ask(server, "images/tags")["first/tensorboard/test"]
    assert {"confusion", "roc", "precision_recall", "reliability", "mistakes"} <= set(of_test)


def test_tensorboard_compares_flags_and_final_figures(server, runs):
    request = urllib.request.Request(
        f"{server}data/plugin/hparams/experiment",
        b'{"includeMetrics": true}',
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        experiment = json.load(answer)
    names = {flag["name"] for flag in experiment["hparamInfos"]}
    assert {"seed", "head_learning_rate", "finetune_thaw"} <= names and "workdir" not in names
    metrics = {(m["name"]["group"], m["name"]["tag"]) for m in experiment["metricInfos"]}
    assert {("test", "accuracy"), ("test", "roc_auc"), ("validation", "loss")} <= metrics


def test_tensorboard_has_the_graph_of_each_phase_and_histograms(server):
    graphs = ask(server, "graphs/info")["first/tensorboard/train"]["tags"]
    assert set(graphs) == {"train_step/head", "train_step/finetune"}
    histograms = ask(server, "histograms/tags")["first/tensorboard/train"]
    kinds = {tag.partition("/")[0] for tag in histograms}
    assert kinds == {"weights", "gradients"} and "weights/logits/kernel" in histograms


def test_the_result_holds_every_figure_and_agrees_with_the_predictions(runs):
    test = json.loads((runs / "first" / "result.json").read_text())["test"]
    with open(runs / "first" / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row for row in rows if row["true_class"] == row["predicted_class"]]
    assert test["count"] == len(rows) and test["accuracy"] == len(right) / len(rows)
    assert sum(count for row in test["confusion"].values() for count in row.values()) == len(rows)
    assert {"balanced_accuracy", "roc_auc", "pr_auc", "expected_calibration_error"} < set(test)


class Page(HTMLParser):
    """Checks that elements close in order, and collects text and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        if tag not in ("path", "polyline"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_no_other_file_and_says_what_was_run(runs):
    source = (runs / "first" / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert not page.open
    assert page.addresses and all(each.startswith("data:image/") for each in page.addresses)
    assert "url(" not in source and "<script" not in source
    result = json.loads((runs / "first" / "result.json").read_text())
    for text in ("--batch_size=8", "22 for train", result["weights_sha256"], "Phase finetune"):
        assert text in page.text


def test_a_run_against_a_copy_of_itself_is_no_better(runs, two_classes):
    shutil.copytree(runs / "first", runs / "copy")
    # As if it had been trained on other splits of the same images, some of this test set too.
    config = json.loads((runs / "copy" / "config.json").read_text())
    config["flags"]["seed"], config["facts"]["data_sha256"] = 1, "0" * 64
    (runs / "copy" / "config.json").write_text(json.dumps(config))
    done = thaw(
        *("--phase=evaluate", f"--workdir={runs / 'first'}", f"--dataset={two_classes}"),
        f"--against={runs / 'copy'}",
    )
    assert done.returncode == 0, done.stderr
    evaluation = json.loads((runs / "first" / "evaluation.json").read_text())
    against = evaluation["against"]
    assert against["accuracy"] == evaluation["accuracy"]
    assert (against["only_this_correct"], against["only_other_correct"]) == (0, 0)
    assert against["p_value"] == 1.0
    tested = [
        set(open_dataset(Config(dataset=str(two_classes), seed=seed), silent).test.names)
        for seed in (0, 1)
    ]
    assert against["seen"] == len(tested[0] - tested[1]) > 0
    result = json.loads((runs / "first" / "result.json").read_text())
    assert {name: evaluation[name] for name in result["test"]} == result["test"]
    assert (runs / "first" / "evaluation" / "roc.png").exists()
    shutil.rmtree(runs / "copy")


def test_a_comparison_shows_what_differs_and_draws_the_curves(runs, tmp_path, capsys):
    other = tmp_path / "second"
    shutil.copytree(runs / "first", other)
    config = json.loads((other / "config.json").read_text())
    config["flags"]["head_learning_rate"] = 0.5
    (other / "config.json").write_text(json.dumps(config))
    (other / "result.json").unlink()
    figure = tmp_path / "curves.png"
    assert compare.main([str(runs / "first"), str(other), f"--output={figure}"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["--head_learning_rate", "0.01", "0.5"] in lines
    assert not any(line[:1] == ["--seed"] for line in lines)
    assert ["epochs", "2", "2"] in lines
    accuracy = next(line for line in lines if line[:2] == ["test", "accuracy"])
    assert accuracy[-1] == "-" and accuracy[3].startswith("(") and "to" in accuracy
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (["--phase=evaluate", "--against=nowhere"], "--against=nowhere holds no run", 1),
        (["--against=nowhere"], "--against is for --phase=evaluate", 2),
    ],
)
def test_a_comparison_that_cannot_be_made_is_one_line(runs, two_classes, flags, said, code):
    done = thaw(f"--workdir={runs / 'first'}", f"--dataset={two_classes}", *SMALL, *flags)
    assert done.returncode == code
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
