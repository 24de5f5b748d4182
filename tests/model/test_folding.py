import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.config import Phase
from lib.model.folding import constants, evaluate, folded, followers, sources
from lib.model.freezing import first_trained


def images(count=3):
    return tf.constant(np.random.default_rng(2).uniform(-1, 1, (count, 32, 32, 3)), tf.float32)


def assert_equal_to_rounding(actual, expected):
    scale = np.abs(expected).max()
    assert scale > 0.1  # else nothing would be shown
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("convolution", "normalisation"),
    [("Conv1", "bn_Conv1"), ("expanded_conv_depthwise", "expanded_conv_depthwise_BN")],
)
def test_one_folded_convolution_equals_the_two_layers(network, convolution, normalisation):
    first = network.backbone.get_layer(convolution)
    second = network.backbone.get_layer(normalisation)
    features = tf.constant(np.random.default_rng(3).normal(size=(2, 8, 8, first.input.shape[-1])))
    features = tf.cast(features, tf.float32)
    kernel, bias = folded(first, second)
    apply = tf.nn.conv2d if convolution == "Conv1" else tf.nn.depthwise_conv2d
    strides = [1, *first.strides, 1]
    result = apply(features, kernel, strides, first.padding.upper()) + bias
    assert_equal_to_rounding(result, second(first(features), training=False))


def test_without_normalisation_the_kernel_stays_as_it_is(network):
    layer = network.backbone.get_layer("Conv1")
    kernel, bias = folded(layer, None)
    assert bias is None
    np.testing.assert_array_equal(kernel, layer.kernel)


def test_a_normalisation_follows_its_convolution_where_both_are_in_the_part(network):
    layers = network.backbone.layers
    names = {source: layer.name for source, layer in followers(layers).items()}
    assert names["Conv1"] == "bn_Conv1"
    assert names["block_5_expand"] == "block_5_expand_BN"
    assert len(names) == sum("BN" in each.name or "bn" in each.name.lower() for each in layers)
    assert "Conv1" not in followers(layers[:2])  # the normalisation is layer 2
    assert "Conv1" not in followers(layers[2:])


def test_an_addition_has_two_sources(network):
    found = sources(network.backbone.get_layer("block_2_add"))
    assert found == ["block_1_project_BN", "block_2_project_BN"]


@pytest.mark.parametrize(
    ("first", "last"),
    [(1, -1), ("block_2_expand", "block_2_add"), ("block_13_expand", "block_13_project_BN")],
    ids=["the whole backbone", "a block with a residual branch", "one without, with strides"],
)
def test_a_part_folded_equals_keras(network, first, last):
    layers = network.backbone.layers
    at = [
        each
        if isinstance(each, int)
        else first_trained(network.backbone, Phase("phase", thaw=each))
        for each in (first, last)
    ]
    part = layers[at[0] :][: None if at[1] == -1 else at[1] - at[0] + 1]
    entry = keras.Model(network.backbone.input, part[0].input)(images(), training=False)
    expected = keras.Model(part[0].input, part[-1].output)(entry, training=False)
    assert_equal_to_rounding(evaluate(part, entry), expected)


def test_no_layers_give_what_enters(network):
    np.testing.assert_array_equal(evaluate([], images()), images())


def test_constants_stay_as_they_were_and_compute_the_same(network):
    part = network.backbone.layers[1:]
    kept, expected = constants(part), network.backbone(images(), training=False)
    network.backbone.set_weights([value * 1.1 for value in network.backbone.get_weights()])
    assert_equal_to_rounding(evaluate(part, images(), kept), expected)
