import contextlib

import keras
import numpy as np
import pytest

from lib.config import user_cache
from lib.errors import UserError
from lib.model import weights
from lib.model.network import weights_sha256
from lib.model.weights import load_pretrained


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


@pytest.fixture(scope="module")
def backbone():
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)


def load(backbone, file, alpha=0.35):
    load_pretrained(backbone, str(file), alpha, silent)


def test_none_leaves_the_backbone_as_it_is(backbone):
    before = weights_sha256(backbone.variables)
    load(backbone, "none")
    assert weights_sha256(backbone.variables) == before


def test_a_file_gives_the_backbone_all_of_its_weights(backbone, weight_file, shared_networks):
    load(backbone, weight_file)
    network, weights_then = shared_networks(2)
    network.model.set_weights(weights_then)
    for loaded, expected in zip(backbone.variables, network.backbone.variables, strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_a_missing_file_is_named_with_what_may_be_given(backbone, tmp_path):
    with pytest.raises(UserError, match=r"--weights=.*gone\.h5: no such file; expected imagenet,"):
        load(backbone, tmp_path / "gone.h5")


def test_a_folder_is_no_weight_file(backbone, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load(backbone, tmp_path)


def test_a_file_of_another_alpha_is_refused_with_the_way_out(weight_file):
    wider = keras.applications.MobileNetV2((32, 32, 3), alpha=0.5, include_top=False, weights=None)
    with pytest.raises(UserError, match=r"does not fit .* at --alpha=0.5 .*give the --alpha") as e:
        load(wider, weight_file, alpha=0.5)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["text.weights.h5", "text.h5"])
def test_a_file_that_is_no_weight_file_is_refused(backbone, tmp_path, name):
    (tmp_path / name).write_text("not weights")
    with pytest.raises(UserError, match=r"cannot be read .*: give another$") as error:
        load(backbone, tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(backbone, weight_file, tmp_path):
    whole = weight_file.read_bytes()
    (tmp_path / "half.weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half\.weights\.h5 cannot be read"):
        load(backbone, tmp_path / "half.weights.h5")


def test_an_alpha_without_imagenet_weights_is_refused_with_those_that_have_some(backbone):
    with pytest.raises(UserError, match=r"--alpha=0.4: .*0.35, 0.5, 0.75, 1.0"):
        load(backbone, "imagenet", alpha=0.4)


def test_imagenet_weights_that_are_there_already_need_no_network(
    backbone, weight_file, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "IMAGENET_URL", "http://127.0.0.1:9/{alpha}_{size}.weights.h5")
    kept = user_cache() / "weights" / "0.35_224.weights.h5"  # for 32 pixels there are none
    kept.parent.mkdir(parents=True)
    kept.write_bytes(weight_file.read_bytes())
    before = weights_sha256(backbone.variables)
    backbone.layers[1].kernel.assign(backbone.layers[1].kernel * 2)
    load(backbone, "imagenet")
    assert weights_sha256(backbone.variables) == before


def test_without_a_network_the_error_names_the_file_and_the_other_ways(
    backbone, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "IMAGENET_URL", "http://127.0.0.1:9/{alpha}_{size}.h5")
    ways = r"could not be downloaded to .*0.35_224.h5.*--weights=FILE.*--weights=drawn"
    with pytest.raises(UserError, match=ways):
        load(backbone, "imagenet")
