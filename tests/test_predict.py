import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib import predict
from lib.data.decoding import load
from lib.errors import UserError
from lib.inference.trained import make_classifier, open_trained
from lib.runs.folder import require_saved
from lib.system.files import read_json

ROOT = Path(__file__).parents[1]


@pytest.fixture
def predicted(trained_run, capsys):
    """A function that predicts, and returns exit code, output, and what was said on stderr."""

    def run(*arguments):
        code = predict.main([f"--workdir={trained_run}", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def ants(distinct_classes):
    return sorted((distinct_classes / "validation" / "ants").iterdir())


def test_predictions_are_those_of_the_run_to_the_last_digit(
    predicted, trained_run, distinct_classes, tmp_path
):
    code, _, _ = predicted(distinct_classes / "validation", f"--output={tmp_path / 'all.csv'}")
    assert code == 0
    with open(tmp_path / "all.csv", newline="") as file:
        rows = {str(Path(r["file"]).relative_to(distinct_classes)): r for r in csv.DictReader(file)}
    with open(trained_run / "predictions.csv", newline="") as file:
        tested = {row["file"]: row for row in csv.DictReader(file)}
    for name, row in tested.items():
        assert rows[name]["probability"] == row["probability"]
        assert rows[name]["class"] == row["predicted_class"]
    validated = [row for name, row in rows.items() if name not in tested]
    right = [row["class"] == Path(row["file"]).parent.name for row in validated]
    expected = read_json(trained_run / "result.json")["best"]["validation"]
    assert len(right) == expected["count"]
    assert np.mean(right) == expected["accuracy"]


def test_the_middle_of_an_image_is_what_is_seen_where_the_run_sees_it(
    run_of_middles, ants, tmp_path
):
    run, saved = run_of_middles, require_saved(run_of_middles)
    assert (
        predict.main([f"--workdir={run}", str(ants[0]), f"--output={tmp_path / 'out.json'}"]) == 0
    )
    (row,) = json.loads((tmp_path / "out.json").read_text())
    classify = make_classifier(open_trained(run, saved.config, saved.facts["classes"], "best"))
    _, expected = classify(load(ants[0], 40)[np.newaxis, 4:-4, 4:-4])
    assert list(row["probabilities"].values()) == expected[0].tolist()


def test_an_image_gets_the_same_numbers_in_any_company(predicted, ants, tmp_path):
    predicted(*ants, f"--output={tmp_path / 'all.jsonl'}")
    predicted(ants[3], f"--output={tmp_path / 'one.jsonl'}")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert lines[3] == (tmp_path / "one.jsonl").read_text().strip()


def test_the_table_is_shown_in_the_order_given(predicted, ants):
    _, out, _ = predicted(ants[2], ants[0])
    header, first, second = (line.split() for line in out.splitlines()[1:4])
    assert header == ["file", "class", "probability"]
    assert [first[0], second[0]] == [str(ants[2]), str(ants[0])]
    assert first[1] in ("ants", "bees")
    assert 0.5 <= float(first[2]) <= 1


def test_json_has_the_probability_of_each_class(predicted, ants, tmp_path):
    predicted(ants[0], f"--output={tmp_path / 'out.json'}")
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert row["file"] == str(ants[0])
    assert sum(row["probabilities"].values()) == pytest.approx(1)
    assert row["probability"] == row["probabilities"][row["class"]]


def test_every_kind_of_image_is_taken(predicted, ants, tmp_path):
    image = Image.open(ants[0])
    for name, kind in (("a.JPG", "JPEG"), ("b.gif", "GIF"), ("c d.bmp", "BMP"), ("é", "WEBP")):
        image.save(tmp_path / name, kind)
    code, out, _ = predicted(tmp_path)
    assert code == 0
    assert "4 images predicted" in out


def test_files_that_cannot_be_read_are_named_and_the_others_done(predicted, ants, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = predicted(tmp_path / "missing.png", ants[0], text, empty, ants[1])
    assert code == 1
    assert len(err.splitlines()) == 3
    for name in ("missing.png", "text.jpg", "empty"):
        assert sum(f"{name}'" in line for line in err.splitlines()) == 1
    assert "2 images predicted, 2 could not be read" in out


def test_explanations_are_images_named_in_the_table(predicted, ants, tmp_path):
    folder, output = tmp_path / "why", tmp_path / "out.csv"
    predicted(f"--explain={folder}", f"--output={output}", ants[0], ants[1])
    with open(output, newline="") as file:
        named = [row["explanation"] for row in csv.DictReader(file)]
    assert sorted(map(str, folder.iterdir())) == named
    assert [Path(name).name for name in named] == ["00000_0.png", "00001_1.png"]
    assert Image.open(named[0]).size == Image.open(ants[0]).size


def test_a_folder_without_images_is_a_failure_though_every_image_was_classified(
    predicted, ants, tmp_path
):
    code, out, err = predicted(ants[0], tmp_path)
    assert code == 1
    assert err == f"python -m lib.predict: the folder '{tmp_path}' holds no files\n"
    assert out.endswith("\n1 images predicted\n")
    assert predicted(tmp_path)[0] == 1


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["x" * 251, "ж" * 125])
def test_an_image_of_the_longest_name_is_explained_like_the_others(predicted, ants, tmp_path, name):
    long = tmp_path / "set" / f"{name}.png"
    long.parent.mkdir()
    long.write_bytes(ants[0].read_bytes())
    folder, output = tmp_path / "why", tmp_path / "out.csv"
    code, _, err = predicted(long, ants[1], f"--explain={folder}", f"--output={output}")
    assert (code, err) == (0, "")
    explained = [Path(row["explanation"]) for row in rows_of(output)]
    assert [path.name[:9] for path in explained] == [f"00000_{name[:3]}", "00001_1.p"]
    for path in explained:
        assert Image.open(path).size == Image.open(ants[0]).size
    assert sorted(explained) == sorted(folder.iterdir())


def test_an_explanation_that_cannot_be_written_costs_nothing_else(predicted, ants, tmp_path):
    folder, output = tmp_path / "why", tmp_path / "out.csv"
    (folder / "00001_1.png").mkdir(parents=True)  # in the place of one
    code, out, err = predicted(*ants[:3], f"--explain={folder}", "--force", f"--output={output}")
    assert code == 1
    (line,) = err.splitlines()
    assert f"'{ants[1]}' is not explained: 00001_1.png cannot be written (Is a directory)" in line
    assert "3 images predicted" in out
    explained = [Path(row["explanation"]).name for row in rows_of(output)]
    assert explained == ["00000_0.png", "", f"00002_{ants[2].stem}.png"]
    assert Image.open(folder / explained[2]).size == Image.open(ants[2]).size


def test_a_full_disk_costs_none_of_what_was_predicted_before_nor_the_rest(
    predicted, ants, tmp_path
):
    output, grid = tmp_path / "out.jsonl", tmp_path / "grid.png"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, limits[1]))  # no file may be larger
    try:
        code, out, err = predicted(*ants, f"--output={output}", f"--grid={grid}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == list(map(str, ants))
    assert f"{len(ants)} images predicted" in out
    table, image = err.splitlines()
    kept = (tmp_path / "out.partial.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in kept] == list(map(str, ants[: len(kept)]))
    assert 0 < len(kept) < len(ants)
    assert f"out.jsonl cannot be written (File too large): the {len(kept)} rows before" in table
    assert "grid.png cannot be written (File too large)" in image
    assert not output.exists() and not grid.exists()


def test_rows_that_an_earlier_run_left_are_replaced_by_force_alone(predicted, ants, tmp_path):
    left = tmp_path / "out.partial.csv"
    left.write_text("precious")
    with pytest.raises(UserError, match=r"out\.partial\.csv exists.*--force"):
        predicted(ants[0], f"--output={tmp_path / 'out.csv'}")
    assert left.read_text() == "precious"
    assert predicted(ants[0], f"--output={tmp_path / 'out.csv'}", "--force")[0] == 0
    assert not left.exists()


def test_a_bare_explain_does_not_swallow_the_image_after_it(predicted, trained_run, ants):
    code, out, _ = predicted("--explain", ants[0])
    assert code == 0
    assert "1 images predicted" in out
    assert len(list((trained_run / "explanations").iterdir())) == 1


def test_the_grid_shows_images(predicted, ants, tmp_path):
    predicted(ants[0], ants[1], f"--grid={tmp_path / 'grid.png'}")
    assert Image.open(tmp_path / "grid.png").width == 1600


def test_what_is_there_is_replaced_by_force_alone(predicted, ants, tmp_path):
    output = tmp_path / "out.csv"
    output.write_text("precious")
    with pytest.raises(UserError, match=r"out\.csv exists.*--force"):
        predicted(ants[0], f"--output={output}")
    assert output.read_text() == "precious"
    predicted(ants[0], f"--output={output}", "--force")
    assert output.read_text().startswith("file,class")


def test_checkpoints_are_found_by_word_and_by_path(predicted, trained_run, ants, tmp_path):
    newest = max(trained_run.glob("checkpoints/*.index"), key=lambda path: path.stat().st_mtime)
    outputs = []
    for number, name in enumerate(("latest", newest, newest.with_suffix(""))):
        outputs.append(tmp_path / f"{number}.json")
        predicted(ants[0], f"--checkpoint={name}", f"--output={outputs[-1]}")
    assert len({path.read_text() for path in outputs}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint=ckpt-999"], "no such checkpoint; expected best, latest, or a path"),
        (["--workdir=nowhere"], "--workdir=nowhere holds no run"),
        (["--grid=tests.png/x.png"], "cannot be written"),
        (["--explain=tests.png/x"], "cannot be written"),
        ([f"--output={'x' * 300}.csv"], "cannot be written .File name too long"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    predicted, ants, monkeypatch, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests.png").touch()
    with pytest.raises(UserError, match=message) as error:
        predicted(ants[0], *arguments)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_network_is_refused(predicted, ants, tmp_path, network_for_three):
    from lib.runs.checkpoints import CachedCheckpoint, Checkpoints
    from lib.runs.state import State

    other = CachedCheckpoint(model=network_for_three.model, state=State())
    path = Checkpoints(tmp_path / "three", keep=1).save(other, 1)
    with pytest.raises(UserError, match="of another network than mobilenet_v2"):
        predicted(ants[0], f"--checkpoint={path}")


@pytest.mark.parametrize("bad", ["--output=out.txt", "--grid=grid.jpg", "--nonsense", "--work=x"])
def test_bad_usage_ends_with_code_2(predicted, ants, capsys, bad):
    with pytest.raises(SystemExit) as ending:
        predicted(ants[0], bad)
    assert ending.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_program_reads_names_and_ends_with_code_1_for_an_unreadable_one(trained_run, ants):
    done = subprocess.run(
        [sys.executable, "-m", "lib.predict", f"--workdir={trained_run}", "-"],
        input=b"\n".join(map(os.fsencode, [ants[0], "missing.png", ants[1]])),
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "python -m lib.predict: 'missing.png' cannot be read: No such file or directory"
    ]
    assert str(ants[1]) in done.stdout.decode()
