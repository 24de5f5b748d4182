"""Whole runs with other backbones: killed and resumed, opened without their file, exported."""

import shutil

import keras
import numpy as np
import pytest

from lib import export, predict
from lib.errors import UserError
from tests.runs.conftest import train
from tests.runs.results import assert_same_outcome

SHORT = ("--batch_size=4", "--head_epochs=1", "--finetune_epochs=1", "--checkpoint_every=2")
SHORT += ("--threads=2", "--head_learning_rate=0.01", "--augment=flip")


def save_own(path):
    """A network of a user's own, with one in it that is from Keras."""
    layers = keras.layers
    inner = keras.applications.MobileNetV3Small((64, 64, 3), include_top=False, weights=None)
    model = keras.Sequential([keras.Input((64, 64, 3)), layers.RandomFlip(), inner, layers.ReLU()])
    for layer in inner.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    noise = np.random.default_rng(0).uniform(0, 255, (16, 64, 64, 3)).astype(np.float32)
    model(noise, training=True)
    model.save(path)


@pytest.fixture(scope="module")
def runs(two_classes, tmp_path_factory):
    """A run with a file of the user's own, and the same after a kill, begun with a copy of it."""
    home = tmp_path_factory.mktemp("own")
    save_own(home / "mine.keras")
    flags = (f"--dataset={two_classes}", "--scaling=none", *SHORT)
    whole, killed = home / "whole", home / "killed"
    train(*flags, f"--backbone={home / 'mine.keras'}", f"--workdir={whole}")
    copied = shutil.copy(home / "mine.keras", home / "copied.keras")
    again = (*flags, f"--backbone={copied}", f"--workdir={killed}")
    train(*again, fault="step@9", code=-9)
    return home, whole, killed, again


def test_a_killed_run_goes_on_to_the_same_bits_without_the_file_that_it_was_begun_with(runs):
    home, whole, killed, again = runs
    (home / "copied.keras").unlink()
    train(*again)
    assert_same_outcome(killed, whole)


def test_another_network_under_the_same_name_is_another_run(runs):
    home, whole, _, again = runs
    keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(4, 3)]).save(
        home / "other.keras"
    )
    flags = [flag for flag in again if "--backbone" not in flag and "--workdir" not in flag]
    done = train(*flags, f"--backbone={home / 'other.keras'}", f"--workdir={whole}", code=1)
    assert "holds another run, which differs in backbone_sha256" in done.err


def test_its_images_are_predicted_and_explained(runs, two_classes, tmp_path, capsys):
    _, whole, _, _ = runs
    arguments = [f"--workdir={whole}", f"--explain={tmp_path / 'why'}"]
    assert predict.main([*arguments, str(two_classes / "validation" / "ants" / "0.png")]) == 0
    assert "1 images predicted" in capsys.readouterr().out
    assert len(list((tmp_path / "why").iterdir())) == 1


@pytest.mark.parametrize("format", ["saved_model", "keras", "tflite"])
def test_it_is_exported_and_a_process_of_its_own_gets_the_same_answers(runs, format, tmp_path):
    _, whole, _, _ = runs
    arguments = [f"--workdir={whole}", f"--format={format}", f"--output={tmp_path / 'out'}"]
    assert export.main([*arguments, "--no_check"]) == 0  # compared in a process of its own still


def test_a_run_begins_with_the_network_of_another_one(runs, two_classes, tmp_path):
    home, whole, _, _ = runs
    done = train(
        *(f"--dataset={two_classes}", "--scaling=none", *SHORT, "--finetune_thaw=all"),
        *(f"--backbone={home / 'mine.keras'}", f"--from_run={whole}", f"--workdir={tmp_path}"),
    )
    assert "finetune epoch   1/1" in done.out


PLUGIN = """
import keras
from lib.model.backbones import BACKBONES

@keras.saving.register_keras_serializable("of a plugin")
class Halved(keras.layers.Layer):
    def call(self, features):
        return 0.5 * features

@BACKBONES.add(scaling="tf", size=32)
def halving(image_size, weights, width=8):
    x = images = keras.Input((image_size, image_size, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(width, 3, strides=2)(x))
    return keras.Model(images, Halved()(keras.layers.ReLU()(x)))
"""


def test_a_run_with_a_backbone_and_layers_of_a_plugin_is_opened_with_it(
    two_classes, tmp_path, capsys
):
    plugin, folder = tmp_path / "halving.py", tmp_path / "run"
    plugin.write_text(PLUGIN, encoding="utf-8")
    flags = [f"--dataset={two_classes}", f"--plugin={plugin}", "--weights=none", *SHORT]
    flags += ["--backbone=halving(width=4)", f"--workdir={folder}"]
    train(*flags, "--finetune_thaw=all")
    assert "accuracy" in train(*flags, "--phase=evaluate").out
    image = str(two_classes / "validation" / "ants" / "0.png")
    assert predict.main([f"--workdir={folder}", image]) == 0
    assert "1 images predicted" in capsys.readouterr().out
    arguments = [f"--workdir={folder}", "--no_check"]
    assert export.main([*arguments, "--format=tflite"]) == 0
    # There nobody knows the plugin.
    with pytest.raises(UserError, match=r"in a process of its own \(.*Halved") as error:
        export.main([*arguments, "--format=keras"])
    assert "\n" not in str(error.value)


def test_what_a_run_would_do_is_said_without_doing_it(two_classes, tmp_path):
    folder = tmp_path / "run"
    done = train(
        *("--dry_run", f"--dataset={two_classes}", "--weights=none", "--image_size=64"),
        *("--backbone=mobilenet_v2(alpha=0.35)", f"--workdir={folder}", "--batch_size=4"),
    )
    assert not folder.exists() and done.err == ""
    for said in (
        "mobilenet_v2(alpha=0.35): 154 layers, 410,208 parameters; 5 million multiplications per",
        "block_11",
        "cut behind the last layer, where 1,280 numbers of an image pass",
        "cut in front of block_11_expand, where 512 numbers of an image pass",
        "52 of 52 normalisations are folded: 33 below, 19 above",
        "images go one by one up to block_7_expand",
        "s an epoch of 22 images",
    ):
        assert said in done.out, done.out
