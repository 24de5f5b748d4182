import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.model.folding import Part, folded, followers_of
from lib.model.graph import graph_of


def images(count=3):
    return tf.constant(np.random.default_rng(2).uniform(-1, 1, (count, 32, 32, 3)), tf.float32)


def assert_equal_to_rounding(actual, expected):
    scale = np.abs(expected).max()
    assert scale > 0.1  # else nothing would be shown
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * scale)


def step_of(graph, name):
    return next(i for i, step in enumerate(graph.steps) if step.operation.name == name)


def folded_names(graph, first=0, last=None):
    found = followers_of(graph, first, len(graph.steps) if last is None else last)
    return [graph.steps[i].operation.name for i in found]


@pytest.mark.parametrize(
    ("convolution", "normalisation"),
    [("Conv1", "bn_Conv1"), ("expanded_conv_depthwise", "expanded_conv_depthwise_BN")],
)
def test_one_folded_convolution_equals_the_two_layers(network, convolution, normalisation):
    first = network.backbone.get_layer(convolution)
    second = network.backbone.get_layer(normalisation)
    features = tf.constant(np.random.default_rng(3).normal(size=(2, 8, 8, first.input.shape[-1])))
    features = tf.cast(features, tf.float32)
    kernel, bias = folded(first, second).values()
    apply = tf.nn.conv2d if convolution == "Conv1" else tf.nn.depthwise_conv2d
    strides = [1, *first.strides, 1]
    result = apply(features, kernel, strides, first.padding.upper()) + bias
    assert_equal_to_rounding(result, second(first(features), training=False))


def test_without_normalisation_the_kernel_stays_as_it_is(network):
    layer = network.backbone.get_layer("Conv1")
    weights = folded(layer, None)
    assert list(weights) == ["kernel"]
    np.testing.assert_array_equal(weights["kernel"], layer.kernel)


def test_a_normalisation_is_folded_where_its_convolution_is_in_the_part_too(network):
    graph = graph_of(network.backbone)
    normalisations = [
        step for step in graph.steps if isinstance(step.operation, keras.layers.BatchNormalization)
    ]
    names = folded_names(graph)
    assert {"Conv1", "block_5_expand"} < set(names)
    assert len(names) == len(normalisations)
    behind = step_of(graph, "bn_Conv1")
    assert "Conv1" not in folded_names(graph, last=behind)
    assert "Conv1" not in folded_names(graph, first=behind)


@pytest.mark.parametrize(
    ("first", "last"),
    [(None, None), ("block_2_expand", "block_2_add"), ("block_13_expand", "block_13_project_BN")],
    ids=["the whole backbone", "a block with a residual branch", "one without, with strides"],
)
def test_a_part_folded_equals_keras(network, first, last):
    graph = graph_of(network.backbone)
    start = step_of(graph, first) if first else 0
    end = step_of(graph, last) + 1 if last else len(graph.steps)
    entry = Part(graph, 0, start, fold=False)(images())
    begin = network.backbone.get_layer(first).input if first else network.backbone.input
    until = network.backbone.get_layer(last).output if last else network.backbone.output
    expected = keras.Model(begin, until)(entry, training=False)
    assert_equal_to_rounding(Part(graph, start, end, fold=True)(entry), expected)


def test_no_steps_give_what_enters(network):
    graph = graph_of(network.backbone)
    np.testing.assert_array_equal(Part(graph, 0, 0, fold=True)(images()), images())


def test_constants_stay_as_they_were_and_compute_the_same(network):
    graph = graph_of(network.backbone)
    part = Part(graph, 0, len(graph.steps), fold=True)
    expected = network.backbone(images(), training=False)
    network.backbone.set_weights([value * 1.1 for value in network.backbone.get_weights()])
    assert_equal_to_rounding(part(images()), expected)
