import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.model.folding import evaluate, folded, followers, sources


def pictures(count=3):
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


def test_the_whole_backbone_folded_equals_keras(network):
    layers = network.backbone.layers
    result = evaluate(layers, {layers[0].name: pictures()}, [layers[-1].name])[0]
    assert_equal_to_rounding(result, network.backbone(pictures(), training=False))


def test_any_output_can_be_asked_for(network):
    layers = network.backbone.layers
    wanted = ["block_2_add", "block_2_depthwise_relu"]
    outputs = [network.backbone.get_layer(name).output for name in wanted]
    expected = keras.Model(network.backbone.input, outputs)(pictures())
    for one, other in zip(
        evaluate(layers, {layers[0].name: pictures()}, wanted), expected, strict=True
    ):
        assert_equal_to_rounding(one, other)


def test_a_normalisation_whose_convolution_is_elsewhere_is_computed_by_itself(network):
    layer = network.backbone.get_layer("block_13_expand_BN")
    features = tf.random.stateless_normal([2, 4, 4, layer.gamma.shape[0]], [1, 2])
    result = evaluate([layer], {"block_13_expand": features}, [layer.name])[0]
    assert_equal_to_rounding(result, layer(features, training=False))
