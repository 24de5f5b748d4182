"""What a study says: table, page, flag file, comparison; with a stand-in for train.py."""

import csv
import html
import json
import re

import pytest

from lib import compare
from tests.study.program import study


@pytest.fixture(scope="module")
def folds(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "study"
    return folder, study(f"--study={folder}", "--folds=4", *flags)


@pytest.fixture(scope="module")
def grid(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid") / "study"
    space = "--space=finetune_learning_rate=1e-5|1e-4"
    return folder, study(f"--study={folder}", space, "--seeds=3", *flags)


def results(folder, pattern="*"):
    return [json.loads(p.read_text()) for p in sorted(folder.glob(f"runs/{pattern}/result.json"))]


def of_best(folder, name, pattern="*"):
    """A figure of the validation set in the best epoch of each run."""
    return [each["best"]["validation"][name] for each in results(folder, pattern)]


def page(folder):
    """The words of the page."""
    text = (folder / "study.html").read_text(encoding="utf-8")
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", text)).split())


def test_folds_are_pooled(folds):
    folder, said = folds
    correct = sum(round(accuracy * 400) for accuracy in of_best(folder, "accuracy"))
    row = re.search(r"4 folds pooled +(\S+) .* (\d+) images", said)
    assert row.groups() == (f"{correct / 1600:.4f}", "1600")
    assert f"{correct / 16:.1f} % of 1,600 images right, each validated once" in page(folder)
    last = sum(round(each["validation"]["accuracy"] * 400) for each in results(folder))
    assert f"4 folds pooled, last epoch  {last / 1600:.4f}" in said and last != correct


def test_mean_and_interval_of_folds_allow_for_their_overlap(folds):
    folder, said = folds
    values = of_best(folder, "accuracy")
    mean = sum(values) / 4
    deviation = (sum((each - mean) ** 2 for each in values) / 3) ** 0.5
    half = 3.182446 * deviation * (1 / 4 + 1 / 3) ** 0.5
    cells = re.search(r"validation accuracy +(.+)", said.partition("mean ")[2]).group(1).split()
    assert cells == [f"{mean:.4f}", f"{deviation:.4f}", f"{mean - half:.4f}", "to",
                     f"{mean + half:.4f}", "4"]  # fmt: skip


def test_two_groups_have_a_paired_difference_in_table_and_page(grid):
    folder, said = grid
    for name in ("loss", "accuracy"):
        one, two = (of_best(folder, name, f"trial-00{n}*") for n in (0, 1))
        mean = sum(b - a for a, b in zip(one, two, strict=True)) / 3
        of = f"trial-001, --finetune_learning_rate=1e-4 validation {name} {mean:+.4f}"
        assert of in " ".join(said.split()) and of in page(folder)
    assert re.search(r"validation accuracy +\S+  \S+ to \S+ +0\.\d+ +3$", said, re.MULTILINE)


def test_the_page_is_one_file_for_any_screen(grid):
    folder, _ = grid
    text = (folder / "study.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|url\(|@import|<script", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_the_page_has_curves_of_every_run_and_a_slice_of_every_flag(grid):
    folder, _ = grid
    text = (folder / "study.html").read_text(encoding="utf-8")
    charts = re.findall(r'<svg[^>]*aria-label="([^"]*)"', text)
    titles = [each.partition(":")[0] for each in charts]
    assert titles == ["Validation accuracy", "Validation loss", "Validation loss"]
    for run in (folder / "runs").glob("trial-*"):
        assert all(run.name in chart for chart in charts[:2])
        last = (run / "history.csv").read_text().splitlines()[-1].partition(",")[0]
        assert f"{run.name}, epoch {last}" in text and f"{run.name}, epoch 0" not in text
    assert text.count("trial-000, finetune_learning_rate 1e-5: ") == 1
    for place, rate in enumerate(("1e-5", "1e-4")):  # each group has a colour, for its three runs
        key = f'<span class="key c{place}"></span>trial-00{place}, --finetune_learning_rate={rate}<'
        assert key in text and text.count(f'<polyline class="c{place}"') == 2 * 3


def test_the_flag_file_has_the_flags_of_the_best_run(grid):
    folder, _ = grid
    name = re.search(r"^# (\S+), rated by", (folder / "best.cfg").read_text()).group(1)
    result = json.loads((folder / "runs" / name / "result.json").read_text())
    assert result["best"]["validation"]["loss"] == min(of_best(folder, "loss", "trial-001*"))
    config = json.loads((folder / "runs" / name / "config.json").read_text())["flags"]
    lines = (folder / "best.cfg").read_text().splitlines()
    assert f"# weights sha256 {result['weights_sha256']}" in lines
    assert f"--seed={config['seed']}" in lines or config["seed"] == 0
    assert "--finetune_learning_rate=0.0001" in lines
    assert f"--from_run={config['from_run']}" in lines
    assert not any(line.startswith(("--workdir", "--head_epochs")) for line in lines)


def test_a_leak_between_folds_is_reported(folds):
    folder, _ = folds
    pair = [["image", "the_same_image"], ["train/a/1.png", "train/a/2.png"]]
    other = [["image", "the_same_image"], ["train/a/2.png", "train/a/1.png"]]
    for name, rows in (("fold-1", pair), ("fold-2", other)):
        with open(folder / "runs" / name / "leaks.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    said = study(f"--study={folder}")
    warning = "warning: train/a/1.png and train/a/2.png are the same image, in different folds"
    assert said.count(warning) == 1
    assert "train/a/1.png train/a/2.png" in page(folder)


def test_compare_sets_studies_side_by_side(grid, folds, flags, tmp_path, capsys):
    folder = tmp_path / "other"
    study(f"--study={folder}", "--folds=4", *flags, "--finetune_learning_rate=1e-4")
    compare.main([str(folds[0]), str(folder), f"--output={tmp_path / 'curves.png'}"])
    said = capsys.readouterr().out
    assert re.search(r"^--finetune_learning_rate +1e-05 +0\.0001$", said, re.MULTILINE)
    one, two = (of_best(each, "accuracy") for each in (folds[0], folder))
    mean = sum(b - a for a, b in zip(one, two, strict=True)) / 4
    row = re.search(r"^other: validation accuracy +(\S+) .* (\d)$", said, re.MULTILINE)
    assert row.groups() == (f"{mean:+.4f}", "4")
    assert (tmp_path / "curves.png").exists()


def test_compare_sets_a_study_beside_a_run(grid, folds, capsys):
    compare.main([str(grid[0]), str(folds[0] / "runs" / "fold-1")])
    said = capsys.readouterr().out
    assert re.search(r"^over +trial-001 of 2, 3 seeds +a run$", said, re.MULTILINE)
