import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lib import export, run_folder
from lib.data.pictures import load
from lib.errors import UserError
from lib.training.trained import make_classifier, open_trained
from lib.use import formats

ROOT = Path(__file__).parents[1]

# What it may come to that pixels halfway between two levels are rounded the other way: much, on
# noise, for a network that was trained on a few pictures of it.
HALFWAY = 0.2


@pytest.fixture(scope="module")
def exports(trained_run, tmp_path_factory):
    """A function that exports a format, once, and returns the folder."""
    home = tmp_path_factory.mktemp("exports")

    def get(format, quantize="none"):
        folder = home / f"{format} {quantize}"
        if not folder.exists():
            flags = {"workdir": trained_run, "format": format, "quantize": quantize}
            assert (
                export.main([*(f"--{n}={v}" for n, v in flags.items()), f"--output={folder}"]) == 0
            )
        return folder

    return get


def opened(folder):
    saved = run_folder.require_saved(folder)
    return open_trained(folder, saved.config, saved.facts["classes"], "best")


@pytest.fixture(scope="module")
def files(two_classes):
    return sorted((two_classes / "validation").glob("*/*.png"))


@pytest.fixture(scope="module")
def expected(trained_run, files):
    """What the run says of these files: classes, and probabilities [n, 2]."""
    trained = opened(trained_run)
    classify = make_classifier(trained)
    told = [classify(load(path, 32)[np.newaxis]) for path in files]
    classes = [("ants", "bees")[int(label[0])] for label, _ in told]
    return classes, np.concatenate([probabilities for _, probabilities in told])


def levels(path):
    return np.asarray(Image.open(path))


def test_a_saved_model_takes_a_batch_of_pictures_of_any_size(exports, files, expected):
    pictures = tf.saved_model.load(str(exports("saved_model"))).signatures["pictures"]
    batch = np.stack([levels(path) for path in files])
    assert batch.shape[1:] == (40, 44, 3)  # not the size of the network
    told = pictures(pictures=tf.constant(batch))
    assert [name.decode() for name in told["class"].numpy()] == expected[0]
    np.testing.assert_allclose(told["probabilities"], expected[1], atol=HALFWAY)
    assert told["class_names"].numpy().tolist() == [[b"ants", b"bees"]] * len(files)


def test_a_saved_model_takes_a_batch_of_encoded_files(exports, files, expected):
    encoded = tf.saved_model.load(str(exports("saved_model"))).signatures["encoded"]
    told = encoded(encoded=tf.constant([path.read_bytes() for path in files]))
    assert [name.decode() for name in told["class"].numpy()] == expected[0]
    np.testing.assert_allclose(told["probabilities"], expected[1], atol=HALFWAY)


def test_a_keras_model_takes_pictures_of_any_size(exports, files, expected):
    model = keras.models.load_model(exports("keras") / "model.keras")
    told = model.predict(np.stack([levels(path) for path in files]), verbose=0)
    np.testing.assert_allclose(told, expected[1], atol=HALFWAY)


def test_a_lite_model_takes_a_picture_of_any_size_or_resized(exports, files, expected):
    path = exports("tflite") / "model.tflite"
    model = tf.lite.Interpreter(str(path))
    pictures, resized = map(model.get_signature_runner, ("pictures", "resized"))
    for file, probabilities in zip(files, expected[1], strict=True):
        told = pictures(pictures=levels(file)[np.newaxis])["probabilities"]
        np.testing.assert_allclose(told[0], probabilities, atol=HALFWAY)
        told = resized(pictures=load(file, 32)[np.newaxis])["probabilities"]
        np.testing.assert_allclose(told[0], probabilities, atol=1e-4)


def test_half_precision_halves_a_lite_model(exports):
    full, half = (exports("tflite", q) / "model.tflite" for q in ("none", "float16"))
    assert half.stat().st_size < 0.6 * full.stat().st_size


def test_a_lite_model_in_integers_takes_the_levels_of_pictures(
    trained_run, files, expected, tmp_path
):
    trained = opened(trained_run)
    pictures = np.stack([load(path, 32) for path in files])
    formats.write_tflite(trained, tmp_path, "int8", lambda: pictures)
    model = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    (given,) = model.get_input_details()
    assert given["dtype"] == np.uint8
    assert given["quantization"] == (pytest.approx(1), 0)
    (way,) = formats.load_tflite(tmp_path, trained.config)
    told = [way.probabilities(way.prepare(path.read_bytes())) for path in files]
    assert np.corrcoef(np.transpose(told)[1], expected[1][:, 1])[0, 1] > 0.9


@pytest.mark.parametrize(("format", "file"), [("keras", "model.keras"), ("tflite", "model.tflite")])
def test_the_names_of_the_classes_are_in_the_model_file_and_beside_it(exports, format, file):
    folder = exports(format)
    assert (folder / "labels.txt").read_text() == "ants\nbees\n"
    with zipfile.ZipFile(folder / file) as archive:
        assert archive.read("labels.txt") == b"ants\nbees\n"


def test_the_report_says_what_was_compared(exports, trained_run):
    report = json.loads((exports("saved_model") / "export.json").read_text())
    assert report["run"] == str(trained_run)
    assert report["classes"] == ["ants", "bees"]
    assert [check["takes"] for check in report["checks"]] == ["pictures", "encoded"]
    for check in report["checks"]:
        assert check["pictures"] == 16
        assert check["disagreement"] == 0
        assert check["largest_difference"] < HALFWAY
    assert report["bytes"] > 1_000_000


@pytest.fixture
def parrot(monkeypatch):
    """Makes exports quick: what is "exported" says of every picture that it shows ants."""
    monkeypatch.setattr(formats, "write_keras", lambda trained, folder: None)
    way = formats.WayIn("pictures", lambda data: data, lambda data: np.float32([0.9, 0.1]))
    monkeypatch.setattr(formats, "load_keras", lambda folder, config: [way])


def test_an_export_that_disagrees_is_refused_and_nothing_is_left(trained_run, tmp_path, parrot):
    arguments = [f"--workdir={trained_run}", "--format=keras", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"gives \d+ of 16 pictures another class"):
        export.main(arguments)
    assert not list(tmp_path.iterdir())


def test_an_export_is_replaced_by_force_alone(trained_run, tmp_path, parrot, monkeypatch):
    monkeypatch.setitem(export.MAY_DISAGREE, "none", 1.0)
    folder = tmp_path / "out"
    arguments = [f"--workdir={trained_run}", "--format=keras", f"--output={folder}"]
    assert export.main(arguments) == 0
    before = (folder / "export.json").read_bytes()
    with pytest.raises(UserError, match=r"holds an export.*--force"):
        export.main(arguments)
    assert (folder / "export.json").read_bytes() == before
    assert export.main([*arguments, "--force", "--check=4"]) == 0
    report = json.loads((folder / "export.json").read_text())
    assert report["checks"][0]["pictures"] == 4
    assert list(tmp_path.iterdir()) == [folder]


def test_an_export_goes_into_the_run_if_no_other_place_is_given(
    trained_run, tmp_path, parrot, monkeypatch
):
    monkeypatch.setitem(export.MAY_DISAGREE, "none", 1.0)
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert export.main([f"--workdir={run}", "--format=keras", "--check=1"]) == 0
    assert (run / "export" / "keras" / "export.json").exists()


def test_even_force_replaces_nothing_but_an_export(trained_run, tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(UserError, match="exists and is no export"):
        export.main(
            [f"--workdir={trained_run}", "--format=keras", f"--output={tmp_path}", "--force"]
        )
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    "bad",
    [
        ["--format=onnx"],
        ["--format=keras", "--quantize=int8"],
        ["--format=keras", "--check=0"],
        ["--format=keras", "--nonsense"],
        [],
    ],
)
def test_bad_usage_ends_with_code_2(trained_run, tmp_path, capsys, bad):
    with pytest.raises(SystemExit) as ending:
        export.main([f"--workdir={trained_run}", f"--output={tmp_path / 'out'}", *bad])
    assert ending.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_program_says_in_one_line_what_is_wrong(tmp_path):
    arguments = [f"--workdir={tmp_path}", "--format=keras", f"--output={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "lib.export", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"python -m lib.export: error: --workdir={tmp_path} holds no run")
