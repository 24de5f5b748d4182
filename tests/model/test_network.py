import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.model.network import build, scaled, weights_sha256
from tests.conftest import small_backbone


def images(count):
    return np.random.default_rng(1).uniform(0, 255, (count, 32, 32, 3)).astype(np.float32)


def test_two_classes_get_one_logit(network):
    assert network.model(images(4)).shape == (4, 1)


def test_three_classes_get_one_logit_each(network_for_three):
    assert network_for_three.model(images(4)).shape == (4, 3)


def test_images_are_scaled_to_the_range_that_the_backbone_was_trained_on():
    found = scaled(tf.constant([0.0, 127.5, 255.0]), "tf")
    np.testing.assert_allclose(found, [-1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("scaling", ["tf", "torch", "caffe"])
def test_each_scaling_is_that_of_keras(scaling):
    expected = keras.applications.imagenet_utils.preprocess_input(images(2), mode=scaling)
    np.testing.assert_allclose(scaled(images(2), scaling), expected, atol=1e-4)


def test_a_backbone_may_take_levels_as_they_are():
    np.testing.assert_array_equal(scaled(images(2), "none"), images(2))


def test_the_model_is_backbone_mean_and_head(network):
    features = network.backbone(network.as_input(images(4)), training=False)
    expected = network.head(tf.reduce_mean(features, axis=(1, 2)))
    np.testing.assert_allclose(network.model(images(4)), expected, rtol=1e-4, atol=1e-5)


def test_using_the_model_leaves_its_weights_alone_and_sees_each_image_by_itself(network):
    before = weights_sha256(network.model.variables)
    alone = network.model(images(1))
    np.testing.assert_allclose(network.model(images(8))[:1], alone, rtol=1e-4, atol=1e-5)
    assert weights_sha256(network.model.variables) == before


@pytest.fixture(scope="module")
def heads():
    """The initial weights of the head by (seed, which of two builds)."""
    return {
        (seed, turn): weights_sha256(build(small_backbone(), 2, 0.2, seed).head.variables)
        for seed, turn in [(0, 0), (0, 1), (1, 0)]
    }


def test_a_head_may_begin_with_zeros(network):
    made = build(network.backbone, 3, 0.2, seed=0, head_init="zeros").head
    assert made.kernel.shape == (1280, 3) and not made.kernel.numpy().any()
    assert build(network.backbone, 3, 0.2, seed=0).head.kernel.numpy().all()


def test_the_heads_initial_weights_follow_from_the_seed(heads):
    assert heads[0, 0] == heads[0, 1]
    assert heads[0, 0] != heads[1, 0]


def test_the_hash_sees_a_single_bit_and_the_order():
    one, other = tf.Variable([1.0, 2.0]), tf.Variable([3.0])
    before = weights_sha256([one, other])
    assert weights_sha256([one, other]) == before
    assert weights_sha256([other, one]) != before
    one.assign(np.nextafter(np.float32([1.0, 2.0]), np.float32(9.0)))
    assert weights_sha256([one, other]) != before


def test_the_hash_is_over_all_weights_of_the_model(network):
    before = weights_sha256(network.model.variables)
    for variable in (network.head.bias, network.backbone.layers[2].moving_mean):
        value = variable.numpy()
        variable.assign(value + 1.0)
        assert weights_sha256(network.model.variables) != before
        variable.assign(value)
    assert weights_sha256(network.model.variables) == before
