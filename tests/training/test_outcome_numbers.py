"""What a run comes to, where its best epoch is not its last, and of two runs that differ."""

import contextlib
import csv
import json
import types
from time import monotonic

import numpy as np
import pytest
import tensorflow as tf

from lib.config import Config
from lib.data.dataset import open_dataset
from lib.distribution.workers import SINGLE
from lib.errors import UserError
from lib.inference import outcome
from lib.inference.baseline import Baseline
from lib.model.network import weights_sha256
from lib.reporting import diagnostics
from lib.reporting.plots import new_figure
from lib.reporting.reports import Reports
from lib.reporting.result import wilson_interval
from lib.runs import folder as run_folder
from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
from lib.runs.state import Journal, State
from tests.reporting.unlike import BEST, HISTORY, LAST

# Another number of each class in each split.
COUNTS = {
    **{"train/ants": 6, "train/bees": 4, "train/cicadas": 3},
    **{"validation/ants": 8, "validation/bees": 5, "validation/cicadas": 4},
    **{"test/ants": 11, "test/bees": 7, "test/cicadas": 5},
}


@contextlib.contextmanager
def silent(*_):
    yield lambda *_: None


class Never:
    def raise_if_requested(self):
        pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_images):
    root = draw_images(tmp_path_factory.mktemp("unlike") / "insects", COUNTS)
    return open_dataset(config_of(tmp_path_factory.mktemp("none"), root), silent)


def config_of(folder, root="insects"):
    return Config(
        workdir=str(folder),
        dataset=str(root),
        image_size=32,
        alpha=0.35,
        batch_size=8,
        threads=2,
        engine="plain",
    )


def another_head(network, subset, seed):
    """Gives the head weights by which each class is predicted for some images of a set."""
    random = np.random.default_rng(seed)
    kernel = random.normal(size=network.head.kernel.shape)
    network.head.kernel.assign(kernel)
    network.head.bias.assign(tf.zeros_like(network.head.bias))
    logits = said_of(network, subset)
    scale = 1.5 / logits.std(axis=0)
    network.head.kernel.assign(kernel * scale)
    network.head.bias.assign(-logits.mean(axis=0) * scale)


def said_of(network, subset):
    """The logits of a set, by the whole model."""
    images = subset.pixels(np.arange(len(subset))).astype(np.float32)
    return network.model(images, training=False).numpy().astype(np.float64)


def measured(logits, labels):
    """Loss, accuracy and the predicted classes, by definition."""
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    predicted = logits.argmax(axis=1)
    return -logs[np.arange(len(labels)), labels].mean(), np.mean(predicted == labels), predicted


def save(network, folder, step, phase):
    state = State()
    state.step.assign(step)
    state.phase.assign(phase)
    Checkpoints(folder, keep=1).save(CachedCheckpoint(model=network.model, state=state), step)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_networks, dataset):
    """A run at its end: its folder, and what its best and its last weights say of each split."""
    network, weights = shared_networks(3)
    network.model.set_weights(weights)
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = config_of(folder)
    folder.mkdir()
    facts = {
        "classes": list(dataset.classes),
        "images": {
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
        },
        "data_sha256": dataset.sha256,
    }
    run_folder.save(folder, config, facts)
    said = {}
    another_head(network, dataset.test, seed=1)
    save(network, folder / "best", HISTORY[BEST].step, "head")
    for split in ("validation", "test"):
        said["best", split] = said_of(network, getattr(dataset, split))
    another_head(network, dataset.test, seed=4)
    said["last", "test"] = said_of(network, dataset.test)
    sha256 = weights_sha256(network.model.variables)

    state = State()
    state.step.assign(HISTORY[LAST].step)
    state.phase.assign("finetune")
    state.journal = Journal(
        HISTORY,
        seconds={"head": 60.0, "finetune": 40.0},
        training_seconds={"head": 13.0, "finetune": 6.5},
        start_seconds=9.0,
        opening_seconds=5.0,
    )
    reports = Reports(folder, HISTORY[LAST].step, HISTORY)
    run = types.SimpleNamespace(
        folder=folder,
        config=config,
        dataset=dataset,
        network=network,
        state=state,
        started=monotonic(),
        best=Checkpoints(folder / "best", keep=1),
        reports=reports,
        stop=Never(),
        workers=SINGLE,
    )
    # The figures have tests of their own, and take seconds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "figures", lambda *_: iter([("blank", new_figure(1.0))]))
        flush = reports.flush

        def flushed():
            (folder / "flushed").write_text(f"{(folder / 'result.json').exists()}")
            flush()

        patch.setattr(reports, "flush", flushed)
        outcome.finish(run)
    reports.close()
    network.model.set_weights(weights)
    return folder, said, sha256


def result_of(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_these_weights_differ_in_all_that_is_reported(finished, dataset):
    _, said, _ = finished
    found = {
        (weights, split): measured(logits, getattr(dataset, split).labels)[:2]
        for (weights, split), logits in said.items()
    }
    for figures in zip(*found.values(), strict=True):
        assert len(set(figures)) == 3
    assert len(set(said["best", "test"].argmax(axis=1))) == 3


def test_summaries_are_in_their_files_before_there_is_a_result(finished):
    folder, _, _ = finished
    assert (folder / "flushed").read_text() == "False"  # whether there was one


def test_the_result_distinguishes_the_last_epoch_and_the_best(finished):
    folder, _, sha256 = finished
    result = result_of(folder)
    assert (result["phase"], result["epoch"], result["step"]) == ("finetune", 4, 28)
    assert result["weights_sha256"] == sha256  # of the last: they are what a resume goes on from
    assert result["train"] == {"loss": 0.5, "accuracy": 0.85}
    assert result["validation"] == {
        "loss": 0.72,
        "accuracy": 0.6,
        "accuracy_interval": list(wilson_interval(10, 17)),
        "count": 17,
    }
    assert result["best"] == {
        "epoch": 2,
        "step": 14,
        "validation": {
            "loss": 0.7,
            "accuracy": 0.75,
            "accuracy_interval": list(wilson_interval(13, 17)),
            "count": 17,
        },
    }


def test_the_test_figures_are_of_the_test_set_by_the_best_weights(finished, dataset):
    folder, said, _ = finished
    test = result_of(folder)["test"]
    loss, accuracy, predicted = measured(said["best", "test"], dataset.test.labels)
    assert test["loss"] == pytest.approx(loss, rel=1e-3)
    assert test["accuracy"] == accuracy
    assert test["count"] == 23
    assert {name: row["count"] for name, row in test["per_class"].items()} == {
        "ants": 11,
        "bees": 7,
        "cicadas": 5,
    }
    for true, row in test["confusion"].items():
        for name, count in row.items():
            k, j = dataset.classes.index(true), dataset.classes.index(name)
            assert count == np.sum((dataset.test.labels == k) & (predicted == j))


def test_the_predictions_are_those_of_the_test_set_by_the_best_weights(finished, dataset):
    folder, said, _ = finished
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logits = said["best", "test"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert [row["file"] for row in rows] == list(dataset.test.names)
    assert [row["true_class"] for row in rows] == [
        name.split("/")[1] for name in dataset.test.names
    ]
    predicted = [dataset.classes[k] for k in logits.argmax(axis=1)]
    assert [row["predicted_class"] for row in rows] == predicted
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], shares.max(axis=1), atol=1e-3
    )


def test_tensorboard_has_the_test_at_the_step_of_the_best_weights(finished):
    folder, _, _ = finished
    test = result_of(folder)["test"]
    found = {
        value.tag: (event.step, float(tf.make_ndarray(value.tensor)))
        for path in folder.glob("tensorboard/test/*tfevents*")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for event in [tf.compat.v1.Event.FromString(record)]
        for value in event.summary.value
        if value.tag in ("loss", "accuracy")
    }
    assert found == {name: (14, pytest.approx(test[name])) for name in ("loss", "accuracy")}


def test_speed_is_of_training_images_by_training_time(finished):
    result = result_of(finished[0])
    # Three epochs of 13 images in 13 s, one in 6.5 s.
    assert result["images_per_second"] == {"head": 3.0, "finetune": 2.0}
    seconds = result["seconds"]
    assert {name: seconds[name] for name in ("start", "head", "finetune")} == {
        "start": 9.0,
        "head": 60.0,
        "finetune": 40.0,
    }
    assert seconds["total"] == pytest.approx(5.0 + 60.0 + 40.0 + seconds["test"])


def test_the_page_is_of_this_run(finished):
    page = (finished[0] / "report.html").read_text(encoding="utf-8")
    assert "with the weights of epoch 2, the one of the lowest" in page
    # All but the head is frozen in the first phase, and not in the second.
    first, second = (
        page.split(f"Phase {name}: ")[1].split(" of ")[0] for name in ("head", "finetune")
    )
    assert int(first.replace(",", "")) == 1280 * 3 + 3 < int(second.replace(",", ""))


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, shared_networks, dataset):
    """Folders of two runs, each with later weights than its best, and what the best ones say."""
    network, weights = shared_networks(3)
    network.model.set_weights(weights)
    root = tmp_path_factory.mktemp("two runs")
    said = {}
    for seed, name, step in ((1, "this", 14), (4, "other", 35)):
        another_head(network, dataset.test, seed)
        save(network, root / name / "best", step, "head")
        said[name] = said_of(network, dataset.test)
        another_head(network, dataset.test, seed + 10)
        save(network, root / name / "checkpoints", step + 7, "head")
    network.model.set_weights(weights)
    return root, said


@pytest.fixture
def evaluate(two_runs, shared_networks, dataset, monkeypatch):
    """A function that evaluates this run, and returns what it wrote."""
    network, _ = shared_networks(3)
    monkeypatch.setattr("lib.inference.trained.build", lambda *_: network)
    monkeypatch.setattr(diagnostics, "figures", lambda *_: iter([]))
    root, _ = two_runs

    def run(baseline=None):
        folder = root / "this"
        outcome.evaluate_best(folder, config_of(folder), dataset.test, None, baseline, Never())
        return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))

    return run


def test_a_comparison_credits_the_run_that_is_right(evaluate, two_runs, dataset, capsys):
    root, said = two_runs
    other = root / "other"
    found = evaluate(Baseline(other, config_of(other), dataset.test, seen=3))
    labels = dataset.test.labels
    loss, accuracy, mine = measured(said["this"], labels)
    their_loss, their_accuracy, theirs = measured(said["other"], labels)
    only_mine = int(np.sum((mine == labels) & (theirs != labels)))
    only_theirs = int(np.sum((mine != labels) & (theirs == labels)))
    assert only_mine != only_theirs and accuracy != their_accuracy

    assert (found["step"], found["count"]) == (14, 23)
    assert found["loss"] == pytest.approx(loss, rel=1e-3)
    assert found["accuracy"] == accuracy
    against = found["against"]
    assert (against["directory"], against["step"], against["seen"]) == (str(other), 35, 3)
    assert against["loss"] == pytest.approx(their_loss, rel=1e-3)
    assert against["accuracy"] == their_accuracy
    right = int(np.sum(theirs == labels))
    assert against["accuracy_interval"] == list(wilson_interval(right, 23))
    assert against["only_this_correct"] == only_mine
    assert against["only_other_correct"] == only_theirs
    said_so = capsys.readouterr().out
    assert f"Test set: accuracy {accuracy:.4f}" in said_so
    assert f"{other}: accuracy {their_accuracy:.4f}" in said_so
    assert f"This run alone is right on {only_mine} images, {other} alone on {only_theirs}" in (
        said_so
    )
    assert "warning: 3 of these images were used to train or to choose" in said_so


def test_a_figure_that_cannot_be_written_costs_neither_the_others_nor_the_numbers(
    evaluate, two_runs, monkeypatch, capsys
):
    drawn = [(name, new_figure(1.0)) for name in ("first", "second", "third")]
    monkeypatch.setattr(diagnostics, "figures", lambda *_: iter(drawn))
    folder = two_runs[0] / "this" / "evaluation"
    (folder / "second.png").mkdir(parents=True)  # in its place
    assert evaluate()["count"] == 23
    assert {path.name for path in folder.iterdir() if path.is_file()} == {"first.png", "third.png"}
    assert "warning: the figure second could not be written (" in capsys.readouterr().out


def test_a_baseline_that_cannot_be_opened_costs_nothing_of_this_runs_own_evaluation(
    evaluate, two_runs, dataset, tmp_path
):
    (two_runs[0] / "this" / "evaluation.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="holds no best checkpoint"):
        evaluate(Baseline(tmp_path, config_of(tmp_path), dataset.test, seen=0))
    found = json.loads((two_runs[0] / "this" / "evaluation.json").read_text(encoding="utf-8"))
    assert found["count"] == 23 and "against" not in found
