import contextlib
import io
import json
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lib import export
from lib.data.decoding import load
from lib.errors import UserError
from lib.inference import calls, formats
from lib.inference.trained import make_classifier, open_trained
from lib.model.interpreters import interpreter
from lib.runs import folder as run_folder

ROOT = Path(__file__).parents[1]

# What it may come to that pixels halfway between two levels are rounded the other way: much, on
# noise, for a network that was trained on a few images of it.
HALFWAY = 0.2


@pytest.fixture(scope="module")
def exports(trained_run, tmp_path_factory):
    """A function that exports a format, once, and returns the folder."""
    home = tmp_path_factory.mktemp("exports")

    def get(format):
        folder = home / format
        if not folder.exists():
            arguments = [f"--workdir={trained_run}", f"--format={format}", f"--output={folder}"]
            assert export.main(arguments) == 0
        return folder

    return get


@pytest.fixture(scope="module")
def moved_run(trained_run, distinct_classes, tmp_path_factory):
    """A copy of the run, which knows its images in a place where they no longer are."""
    home = tmp_path_factory.mktemp("moved")
    run = shutil.copytree(trained_run, home / "run")
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace(str(distinct_classes), str(home / "gone")))
    return run


@pytest.fixture(scope="module")
def unchecked(moved_run, tmp_path_factory):
    """An export in half precision without the images: its folder, and what was said."""
    folder = tmp_path_factory.mktemp("unchecked") / "out"
    arguments = [f"--workdir={moved_run}", "--format=tflite", "--quantize=float16", "--no_check"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert export.main([*arguments, f"--output={folder}"]) == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def keras_of_moved_run(moved_run, distinct_classes, tmp_path_factory):
    """A Keras export, made with the images in another place than the run knows."""
    folder = tmp_path_factory.mktemp("keras") / "out [1]"
    arguments = [f"--workdir={moved_run}", "--format=keras", f"--output={folder}"]
    assert export.main([*arguments, f"--dataset={distinct_classes}"]) == 0
    return folder


@pytest.fixture(scope="module")
def saved_model(exports):
    """The SavedModel, loaded."""
    return tf.saved_model.load(str(exports("saved_model")))


def opened(folder):
    saved = run_folder.require_saved(folder)
    return open_trained(folder, saved.config, saved.facts["classes"], "best")


@pytest.fixture(scope="module")
def files(distinct_classes):
    return sorted((distinct_classes / "validation").glob("*/*.png"))


@pytest.fixture(scope="module")
def expected(trained_run, files):
    """What the run says of these files: classes, and probabilities [n, 2]."""
    trained = opened(trained_run)
    classify = make_classifier(trained)
    answers = [classify(load(path, 32)[np.newaxis]) for path in files]
    classes = [("ants", "bees")[int(label[0])] for label, _ in answers]
    return classes, np.concatenate([probabilities for _, probabilities in answers])


def levels(path):
    return np.asarray(Image.open(path))


def test_a_saved_model_takes_a_batch_of_images_of_any_size(saved_model, files, expected):
    images = saved_model.signatures["pictures"]
    batch = np.stack([levels(path) for path in files])
    assert batch.shape[1:] == (40, 44, 3)  # not the size of the network
    answers = images(pictures=tf.constant(batch))
    assert [name.decode() for name in answers["class"].numpy()] == expected[0]
    np.testing.assert_allclose(answers["probabilities"], expected[1], atol=HALFWAY)
    assert answers["class_names"].numpy().tolist() == [[b"ants", b"bees"]] * len(files)


def test_a_saved_model_takes_a_batch_of_encoded_files(saved_model, files, expected):
    encoded = saved_model.signatures["encoded"]
    answers = encoded(encoded=tf.constant([path.read_bytes() for path in files]))
    assert [name.decode() for name in answers["class"].numpy()] == expected[0]
    np.testing.assert_allclose(answers["probabilities"], expected[1], atol=HALFWAY)


def test_a_saved_model_refuses_one_file_and_answers_the_others(saved_model, files, expected):
    answers = saved_model(tf.constant([files[0].read_bytes(), b"no image", files[-1].read_bytes()]))
    names = [expected[0][0].encode(), b"", expected[0][-1].encode()]
    assert answers["class"].numpy().tolist() == names
    assert np.isfinite(answers["probabilities"]).all(axis=1).tolist() == [True, False, True]
    reason = b"not a JPEG, PNG, GIF, BMP or WebP image"
    assert answers["refused"].numpy().tolist() == [b"", reason, b""]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
def test_a_saved_model_is_called_with_numbers_of_any_type(saved_model, files, expected, dtype):
    batch = np.stack([levels(path) for path in files])
    answers = saved_model(batch.astype(dtype))
    np.testing.assert_allclose(answers["probabilities"], expected[1], atol=HALFWAY)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_a_keras_model_takes_images_of_any_size_however_it_is_called(
    keras_of_moved_run, files, expected, dtype
):
    model = keras.models.load_model(keras_of_moved_run / "model.keras")
    batch = np.stack([levels(path) for path in files]).astype(dtype)
    for answers in (model(batch), model(batch), model.predict(batch, verbose=0)):
        np.testing.assert_allclose(answers, expected[1], atol=HALFWAY)
    np.testing.assert_array_equal(model(batch), model(batch))


def test_training_an_exported_keras_model_drops_features_and_keeps_the_statistics(
    keras_of_moved_run, files
):
    model = keras.models.load_model(keras_of_moved_run / "model.keras")
    before = [variable.numpy() for variable in model.non_trainable_variables]
    batch = np.stack([levels(path) for path in files])
    drawn = [np.asarray(model(batch, training=True)) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        if "moving" in variable.path:
            np.testing.assert_array_equal(variable, value)


def test_an_export_that_answers_otherwise_when_it_is_simply_called_is_refused(
    trained_run, tmp_path, monkeypatch
):
    def with_a_layer_in_training_mode(trained, folder):
        images = keras.Input((None, None, 3), dtype="uint8")
        scaled = keras.layers.Resizing(32, 32, "bilinear", antialias=True)(images)
        logits = trained.network.model(keras.ops.round(scaled))
        both = [keras.ops.sigmoid(-logits), keras.ops.sigmoid(logits)]
        keras.Model(images, keras.layers.Concatenate()(both)).save(folder / "model.keras")

    monkeypatch.setattr(formats, "write_keras", with_a_layer_in_training_mode)
    arguments = [f"--workdir={trained_run}", "--format=keras", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="does not answer as the run does"):
        export.main([*arguments, "--no_check"])
    assert not list(tmp_path.iterdir())


def test_a_lite_model_takes_an_image_of_any_size_or_resized(exports, files, expected):
    path = exports("tflite") / "model.tflite"
    model = interpreter(path.read_bytes(), 1)
    images, resized = map(model.get_signature_runner, ("pictures", "resized"))
    for file, probabilities in zip(files, expected[1], strict=True):
        answers = images(pictures=levels(file)[np.newaxis])["probabilities"]
        np.testing.assert_allclose(answers[0], probabilities, atol=HALFWAY)
        answers = resized(pictures=load(file, 32)[np.newaxis])["probabilities"]
        np.testing.assert_allclose(answers[0], probabilities, atol=1e-4)


def test_half_precision_halves_a_lite_model(exports, unchecked):
    full, half = (folder / "model.tflite" for folder in (exports("tflite"), unchecked[0]))
    assert half.stat().st_size < 0.6 * full.stat().st_size


def test_a_lite_model_in_integers_takes_the_levels_of_images(
    trained_run, files, expected, tmp_path
):
    trained = opened(trained_run)
    images = np.stack([load(path, 32) for path in files])
    formats.write_tflite(trained, tmp_path, "int8", lambda: images)
    model = interpreter((tmp_path / "model.tflite").read_bytes(), 1)
    (given,) = model.get_input_details()
    assert given["dtype"] == np.uint8
    assert given["quantization"] == (pytest.approx(1), 0)
    (way,) = formats.load_tflite(tmp_path, trained.config)
    answers = [way.probabilities(way.prepare(path.read_bytes())) for path in files]
    # Levels taken for something else give nothing alike.
    assert np.corrcoef(np.transpose(answers)[1], expected[1][:, 1])[0, 1] > 0.9


@pytest.mark.parametrize("file", ["model.keras", "model.tflite"])
def test_the_names_of_the_classes_are_in_the_model_file_and_beside_it(
    exports, keras_of_moved_run, file
):
    folder = keras_of_moved_run if file == "model.keras" else exports("tflite")
    assert (folder / "labels.txt").read_text() == "ants\nbees\n"
    with zipfile.ZipFile(folder / file) as archive:
        assert archive.read("labels.txt") == b"ants\nbees\n"


def test_the_report_says_what_was_compared(exports, trained_run):
    report = json.loads((exports("saved_model") / "export.json").read_text())
    assert report["run"] == str(trained_run)
    assert report["classes"] == ["ants", "bees"]
    assert [check["takes"] for check in report["checks"]] == ["pictures", "encoded"]
    for check in report["checks"]:
        assert check["images"] == 16
        assert check["disagreement"] == 0
        assert check["largest_difference"] < HALFWAY
    assert report["bytes"] > 1_000_000
    assert "ready: loaded(float32 array)" in report["calls"]["ways"]
    assert "files: encoded" in report["calls"]["ways"]
    assert "PNG, 16 colours" in report["calls"]["reads"]
    assert "BMP, run lengths" in report["calls"]["refuses"]


def test_images_that_have_moved_are_asked_for_before_anything_is_made(moved_run, tmp_path):
    arguments = [f"--workdir={moved_run}", "--format=tflite", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"no longer in .*gone: give --dataset.*--no_check"):
        export.main(arguments)
    with pytest.raises(UserError, match=r"--dataset=.* needed to set the ranges of int8"):
        export.main([*arguments, "--quantize=int8", "--no_check"])
    assert not (tmp_path / "out").exists()


def test_the_place_of_the_images_can_be_given(keras_of_moved_run):
    report = json.loads((keras_of_moved_run / "export.json").read_text())
    assert report["checks"][0]["images"] == 16
    assert keras.models.load_model(keras_of_moved_run / "model.keras").name == "thaw"


def test_other_images_than_those_of_the_run_are_no_check(
    moved_run, distinct_classes, three_classes, tmp_path
):
    arguments = [f"--workdir={moved_run}", "--format=keras", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"differs in classes .* needed to check"):
        export.main([*arguments, f"--dataset={three_classes}"])
    changed = shutil.copytree(distinct_classes, tmp_path / "changed")
    lost = min(changed.rglob("*.png"))
    lost.unlink()
    with pytest.raises(UserError, match=f"missing: '{lost.relative_to(changed)}'.* --no_check"):
        export.main([*arguments, f"--dataset={changed}"])


def test_without_images_an_export_says_that_it_is_unchecked(unchecked):
    folder, said = unchecked
    assert "not compared with the run" in said
    report = json.loads((folder / "export.json").read_text())
    assert report["checks"] == []
    assert "ready: LiteRT, invoke" in report["calls"]["ways"]  # by images that are made up


def test_int8_is_calibrated_by_training_images(trained_run, tmp_path, monkeypatch, parrot):
    given = []

    def write_tflite(trained, folder, quantize, calibration):
        given.append(calibration())

    monkeypatch.setattr(formats, "write_tflite", write_tflite)
    monkeypatch.setattr(formats, "load_tflite", lambda folder, config: [parrot])
    monkeypatch.setitem(export.MAY_DISAGREE, "int8", 1.0)
    arguments = [f"--workdir={trained_run}", "--format=tflite", "--quantize=int8"]
    assert export.main([*arguments, f"--output={tmp_path / 'out'}"]) == 0
    config = run_folder.require_saved(trained_run).config
    training = {load(path, 32).tobytes() for path in Path(config.dataset).glob("train/*/*.png")}
    assert len(given[0]) == 22
    assert {image.tobytes() for image in given[0]} == training


def test_class_names_that_differ_in_blanks_alone_stay_different(tmp_path):
    trained = types.SimpleNamespace(classes=("a b", "a  b", "a\nb", "a\\nb", "a\rb "))
    formats._write_labels(trained, tmp_path)
    lines = (tmp_path / "labels.txt").read_bytes().decode().splitlines()
    assert lines == ["a b", "a  b", "a\\nb", "a\\\\nb", "a\\rb "]


@pytest.mark.parametrize("command", ["export", "predict", "compare"])
def test_a_command_runs_without_docstrings(command):
    done = subprocess.run(
        [sys.executable, "-OO", "-m", f"lib.{command}", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.fixture
def parrot(monkeypatch):
    """Makes exports quick: what is "exported" says of every image that it shows ants."""
    monkeypatch.setattr(formats, "write_keras", lambda trained, folder: None)
    way = formats.WayIn("pictures", lambda data: data, lambda data: np.float32([0.9, 0.1]))
    monkeypatch.setattr(formats, "load_keras", lambda folder, config: [way])
    monkeypatch.setattr(calls, "check_calls", lambda *_: calls.Calls(("pictures",), (), {}))
    return way


def test_an_export_that_disagrees_is_refused_and_nothing_is_left(trained_run, tmp_path, parrot):
    arguments = [f"--workdir={trained_run}", "--format=keras", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"gives \d+ of 16 images another class"):
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
    assert report["checks"][0]["images"] == 4
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


@pytest.mark.parametrize("format", ["keras", "tflite"])
def test_an_export_sees_the_middle_where_its_run_does(run_of_middles, files, format, tmp_path):
    folder = tmp_path / "export"
    arguments = [f"--workdir={run_of_middles}", f"--format={format}", f"--output={folder}"]
    assert export.main(arguments) == 0
    report = json.loads((folder / "export.json").read_text())
    assert (report["image_size"], report["source_size"]) == (32, 40)
    run = opened(run_of_middles)
    classify, ways = make_classifier(run), getattr(formats, f"load_{format}")(folder, run.config)
    for way in ways:
        _, expected = classify(load(files[0], 40)[np.newaxis, 4:-4, 4:-4])
        found = way.probabilities(way.prepare(files[0].read_bytes()))
        np.testing.assert_allclose(found, expected[0], atol=HALFWAY)
