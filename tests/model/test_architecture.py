import contextlib
import hashlib

import keras
import numpy as np
import pytest
from keras import layers

from lib.config import Config, user_cache
from lib.errors import UserError
from lib.model import weights
from lib.model.architecture import build_backbone, keep, open_kept, refresh
from lib.model.backbones import default_size
from lib.model.network import weights_sha256
from tests.http_server import Answer, serving


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def built(file, image_size=32, **flags):
    flags = {"scaling": "none", "weights": "own"} | flags
    return build_backbone(Config(backbone=str(file), image_size=image_size, **flags), silent)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of a user's own, for 32 pixels, with another in it, and what it computes."""
    keras.backend.clear_session(free_memory=False)
    inner = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3, strides=2)])
    normalisation = layers.Normalization()
    normalisation.adapt(np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)))
    taken = keras.Input((32, 32, 3))
    features = layers.BatchNormalization()(inner(normalisation(taken)))
    model = keras.Model(taken, layers.ReLU()(features))
    path = tmp_path_factory.mktemp("own") / "mine.keras"
    model.save(path)
    return path, model


def images(size=32):
    return np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def test_a_file_is_the_model_that_was_saved(saved):
    path, model = saved
    found, scaling = built(path)
    assert scaling == "none"
    np.testing.assert_allclose(found(images()), model(images()), atol=1e-6)
    assert default_size(str(path)) == 32


def test_a_file_serves_images_of_another_size_with_the_same_weights(saved):
    path, model = saved
    found, _ = built(path, image_size=48)
    assert found.input_shape == (None, 48, 48, 3)
    assert weights_sha256(found.variables) == weights_sha256(model.variables)


def test_of_a_file_the_architecture_alone_may_be_taken(saved):
    path, model = saved
    found, _ = built(path, weights="none")
    assert [v.shape for v in found.variables] == [v.shape for v in model.variables]
    assert weights_sha256(found.variables) != weights_sha256(model.variables)


def test_a_kept_architecture_computes_the_same_once_it_has_the_weights(saved, tmp_path):
    _, model = saved
    keep(tmp_path, model, "none")
    found, _ = open_kept(tmp_path)
    for mine, theirs in zip(found.variables, model.variables, strict=True):
        mine.assign(theirs)  # as a checkpoint does, of which `Normalization` is not told
    refresh(found)
    np.testing.assert_allclose(found(images()), model(images()), atol=1e-6)


def test_a_kept_architecture_stays_as_it_is(saved, tmp_path):
    _, model = saved
    keep(tmp_path, model, "none")
    keep(tmp_path, keras.Sequential([keras.Input((8, 8, 3)), layers.ReLU()]), "tf")
    assert open_kept(tmp_path)[1] == "none"


def test_where_none_is_kept_there_is_none(tmp_path):
    assert open_kept(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "{}", '{"scaling": "tf", "architecture": {}}'])
def test_a_damaged_one_is_said_in_a_line(tmp_path, content):
    (tmp_path / "backbone.json").write_text(content)
    with pytest.raises(UserError, match=r"backbone.json cannot be built .*: restore") as error:
        open_kept(tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_needs_its_scaling_said_and_a_name_takes_none(saved):
    with pytest.raises(UserError, match="does not say what it takes; give --scaling=none"):
        built(saved[0], scaling=None)
    with pytest.raises(UserError, match="--scaling=tf is for a backbone of your own"):
        built("resnet50", scaling="tf", weights="none")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"weights": "imagenet"}, "--weights=imagenet: these are not of"),
        ({"weights": "drawn"}, "--weights=drawn: these are not of"),
    ],
)
def test_weights_of_another_network_are_refused(saved, flags, said):
    with pytest.raises(UserError, match=said):
        built(saved[0], **flags)
    with pytest.raises(UserError, match="--weights=own is for a backbone of your own"):
        built("resnet50", scaling=None)


def lambda_inside(path):
    keras.Sequential([keras.Input((32, 32, 3)), layers.Lambda(lambda x: x / 2)]).save(path)


def of_one_size(path):
    above = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)]
    keras.Sequential([keras.Input((24, 24, 3)), *above]).save(path)


def no_archive(path):
    path.write_text("not a model")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda_inside, "cannot be loaded .*Lambda.*; write a Lambda as a layer of its own"),
        (of_one_size, "is made for images of 24 pixels .*; give --image_size=24"),
        (no_archive, "is no model that Keras has saved"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(tmp_path, made, said):
    made(tmp_path / "odd.keras")
    with pytest.raises(UserError, match=f"--backbone=.*odd.keras.* {said}") as error:
        built(tmp_path / "odd.keras")
    assert "\n" not in str(error.value)


def test_images_that_are_too_small_are_refused_in_a_line():
    with pytest.raises(UserError, match=r"--backbone=xception .*--image_size=48 .*at least 71x71"):
        built("xception", image_size=48, scaling=None, weights="none")


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    folder = user_cache() / "weights"
    folder.mkdir(parents=True)
    return folder


def test_keras_gets_its_weights_by_our_download(own_cache):
    from keras.src.utils import file_utils

    before = file_utils.get_file
    model = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    model.save(own_cache / "mobilenet_2_5_224_tf_no_top.h5")
    flags = {"scaling": None, "weights": "imagenet"}
    found, _ = built("mobilenet(alpha=0.25)", **flags)
    assert weights_sha256(found.variables) == weights_sha256(model.variables)
    assert file_utils.get_file is before
    with pytest.raises(UserError, match=r"resnet50_weights.*notop.h5 could not be downloaded to"):
        built("resnet50", **flags)


def test_every_network_of_keras_asks_where_it_is_looked_for():
    """Its modules call `file_utils.get_file`, with the arguments that ours takes."""
    from keras.src.applications import efficientnet, imagenet_utils, resnet
    from keras.src.utils import file_utils

    assert {efficientnet.file_utils, imagenet_utils.file_utils, resnet.file_utils} == {file_utils}


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_file_of_weights_with_another_digest_is_refused(own_cache, algorithm):
    body = weights.HDF5 + b"something"
    right = hashlib.new(algorithm, body).hexdigest()
    with serving(Answer(body)) as server:
        wrong = "0" * len(right)
        with pytest.raises(UserError, match=f"has the digest {right} and not {wrong}"):
            weights._downloaded(server.url, own_cache / "file.h5", wrong, silent)
        assert not list(own_cache.glob("file.h5*"))
        found = weights._downloaded(server.url, own_cache / "file.h5", right, silent)
    assert found.read_bytes() == body
