import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from lib.model.folding import Part, folded, followers_of
from lib.model.graph import graph_of, leaf_layers


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


class Tripled(layers.Conv2D):
    """Known by its base class, but not in what it computes."""

    def call(self, features):
        return 3.0 * super().call(features)


class Shifted(layers.BatchNormalization):
    def call(self, features, training=None):
        return super().call(features, training=training) + 1.0


def quantized(x):
    layer = layers.Dense(8)
    result = layer(x)
    layer.quantize("int8")
    return layers.BatchNormalization()(result)


def masked(x):
    mask = keras.ops.any(keras.ops.greater(x, 0.0), axis=-1)
    return layers.BatchNormalization()(layers.Conv2D(8, 1)(x), mask=mask)


def on_a_sequence(x):
    return layers.BatchNormalization()(layers.Dense(8)(layers.Reshape((-1, 3))(x)))


def put_out_before(x):
    """A model of two outputs, of which the second, normalised, is used by nobody."""
    inner_in = keras.Input(x.shape[1:])
    inner = layers.Conv2D(8, 3)(inner_in)
    return keras.Model(inner_in, [inner, layers.BatchNormalization()(inner)])(x)[0]


def in_a_row(*layers_in_it):
    def apply(x):
        for make in layers_in_it:
            x = make()(x)
        return x

    return apply


def convolution():
    return layers.Conv2D(8, 3)


# What may be folded, and in how many places; everything else is computed by Keras.
CHAINS = {
    "a plain one": (in_a_row(convolution, layers.BatchNormalization), 1),
    "of a large epsilon": (
        in_a_row(convolution, lambda: layers.BatchNormalization(epsilon=0.5)),
        1,
    ),
    "without a scale": (in_a_row(convolution, lambda: layers.BatchNormalization(scale=False)), 1),
    "without an offset": (
        in_a_row(convolution, lambda: layers.BatchNormalization(center=False)),
        1,
    ),
    "two in a row": (
        in_a_row(convolution, layers.BatchNormalization, layers.BatchNormalization),
        1,
    ),
    "a layer derived from a convolution": (
        in_a_row(lambda: Tripled(8, 3), layers.BatchNormalization),
        0,
    ),
    "one derived from a normalisation": (in_a_row(convolution, Shifted), 0),
    "half precision before": (
        in_a_row(lambda: layers.Conv2D(8, 3, dtype="mixed_float16"), layers.BatchNormalization),
        0,
    ),
    "half precision twice": (
        in_a_row(
            lambda: layers.Conv2D(8, 3, dtype="mixed_float16"),
            lambda: layers.Conv2D(8, 3, dtype="mixed_float16"),
            layers.BatchNormalization,
        ),
        0,
    ),
    "half precision behind": (
        in_a_row(
            convolution, lambda: layers.BatchNormalization(dtype="mixed_float16"), layers.ReLU
        ),
        0,
    ),
    "a low-rank adaptation": (
        in_a_row(lambda: layers.Dense(8, lora_rank=2), layers.BatchNormalization),
        0,
    ),
    "eight bits": (quantized, 0),
    "a mask": (masked, 0),
    "a dense layer on a sequence": (on_a_sequence, 0),
    "channels first": (
        in_a_row(
            lambda: layers.Conv2D(8, 3, padding="same", data_format="channels_first"),
            lambda: layers.BatchNormalization(axis=1),
        ),
        0,
    ),
    "what is put out itself": (put_out_before, 0),
    "layers": (in_a_row(convolution, lambda: layers.LayerNormalization(epsilon=0.5)), 0),
    "layers, by their root mean square": (
        in_a_row(convolution, lambda: layers.LayerNormalization(rms_scaling=True)),
        0,
    ),
    "layers, of another axis": (
        in_a_row(convolution, lambda: layers.LayerNormalization(axis=1)),
        0,
    ),
    "layers, of all axes": (
        in_a_row(convolution, lambda: layers.LayerNormalization(axis=[1, 2, 3])),
        0,
    ),
    "layers, without scale and offset": (
        in_a_row(convolution, lambda: layers.LayerNormalization(center=False, scale=False)),
        0,
    ),
    "layers, in half precision": (
        in_a_row(
            convolution, lambda: layers.LayerNormalization(dtype="mixed_float16"), layers.ReLU
        ),
        0,
    ),
}


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize(("chain", "count"), CHAINS.values(), ids=CHAINS)
def test_what_is_folded_is_sure_to_be_the_same(chain, count, trained):
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    taken = keras.Input((12, 12, 3))
    model = keras.Model(taken, chain(taken))
    random = np.random.default_rng(4)
    for variable in model.variables:
        if variable.dtype == "float32":
            low = -0.5 if "kernel" in variable.name or "lora" in variable.name else 0.5
            variable.assign(random.uniform(low, 1.5, variable.shape))
    given = images()[:, :12, :12]
    graph = graph_of(model)
    part = Part(graph, 0, len(graph.steps), True, leaf_layers(model) if trained else ())
    assert_equal_to_rounding(part(given), model(given, training=False))
    assert len(folded_names(graph)) == count
