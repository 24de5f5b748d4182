"""Networks that nobody had in mind: each is computed as Keras does, or refused in a line."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from lib.config import Phase
from lib.errors import UserError
from lib.model.architecture import require_usable
from lib.model.engine import border, cut
from lib.model.folding import Part
from lib.model.freezing import first_trained, freeze
from lib.model.gradcam import make_gradcam
from lib.model.graph import leaf_layers
from lib.model.network import build
from lib.system.exact_sums import require_exact_sums

SIZE = 24


@keras.saving.register_keras_serializable("odd graphs")
class Doubled(layers.Layer):
    """A layer of a user's own, with another in it."""

    def build(self, shape):
        self.inner = layers.Conv2D(shape[-1], 1)
        self.inner.build(shape)

    def call(self, features, training=False):
        return self.inner(features) * (3.0 if training else 2.0)


def with_bias(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 3)(x))


def with_activation(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu", use_bias=False)(x))


def dilated(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 3, dilation_rate=2, padding="same")(x))


def dilated_by_channel(x):
    return layers.BatchNormalization()(layers.DepthwiseConv2D(3, dilation_rate=2)(x))


def in_groups(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 3, groups=4)(x))


def in_groups_of_a_channel(x):
    x = layers.Conv2D(8, 5, groups=8, padding="same")(x)
    x = layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, groups=8)(x))
    return layers.Conv2D(16, 3, strides=(1, 2), groups=16, padding="same")(x)


def strided_pointwise(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 1, strides=(2, 3), use_bias=False)(x))


def several_by_channel(x):
    return layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2)(x))


def separable(x):
    return layers.BatchNormalization()(layers.SeparableConv2D(8, 3, strides=2, padding="same")(x))


def without_scale_and_offset(x):
    return layers.BatchNormalization(scale=False, center=False)(layers.Conv2D(8, 3)(x))


def of_another_axis(x):
    return layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3)(x))


def dense_on_maps(x):
    return layers.BatchNormalization()(layers.Dense(8)(x))


def used_twice(x):
    shared = layers.Conv2D(8, 3, padding="same")
    return layers.BatchNormalization()(shared(layers.BatchNormalization()(shared(x))))


def shared_by_two_normalisations(x):
    y = layers.Conv2D(8, 3)(x)
    return layers.Add()([layers.BatchNormalization()(y), layers.BatchNormalization()(y)])


def normalised_before(x):
    return layers.Conv2D(8, 3, activation="relu")(layers.BatchNormalization()(x))


def nested_twice(x):
    inner = keras.Sequential(
        [keras.Input((None, None, 8)), layers.Conv2D(8, 3), layers.BatchNormalization()]
    )
    outer_in = keras.Input(x.shape[1:])
    outer = keras.Model(outer_in, layers.ReLU()(inner(inner(outer_in))))
    return outer(x)


def attention(x):
    flat = layers.Reshape((-1, 8))(x)
    seen = layers.MultiHeadAttention(2, 4)(flat, flat)
    return layers.Reshape(x.shape[1:])(layers.LayerNormalization()(flat + seen))


def of_the_users_own(x):
    return layers.BatchNormalization()(Doubled()(x))


def parametric(x):
    return layers.PReLU(alpha_initializer="uniform")(layers.Conv2D(8, 3)(x))


def transposed(x):
    return layers.BatchNormalization()(layers.Conv2DTranspose(8, 3, strides=2)(x))


def resized_and_augmented(x):
    return layers.Conv2D(8, 3)(layers.RandomFlip()(layers.Resizing(20, 20)(x)))


def in_half_precision(x):
    return layers.BatchNormalization()(layers.Conv2D(8, 3, dtype="mixed_float16")(x))


def many_users(x):
    return layers.Concatenate()([layers.Conv2D(4, 1)(x), x, keras.ops.square(x), x * 0.5])


def squeezed_and_excited(x):
    weight = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(weight)])


ODD = [
    *(with_bias, with_activation, dilated, dilated_by_channel, in_groups, in_groups_of_a_channel),
    *(strided_pointwise, several_by_channel, separable, without_scale_and_offset),
    *(of_another_axis, dense_on_maps, used_twice, shared_by_two_normalisations),
    *(normalised_before, nested_twice, attention, of_the_users_own, parametric, transposed),
    *(resized_and_augmented, many_users, squeezed_and_excited, in_half_precision),
]


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=ODD, ids=lambda odd: odd.__name__)
def network(request):
    """A network with something odd in the middle, below and above of it something ordinary."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(2)
    x = taken = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(x)))
    x = layers.ReLU(name="odd_begins")(layers.Conv2D(8, 1)(x))
    x = request.param(x)
    x = layers.Conv2D(16, 1, name="top")(x)
    backbone = keras.Model(taken, layers.Activation("swish")(x))
    require_usable(backbone, "--backbone=odd.keras")
    random = np.random.default_rng(1)
    for layer in backbone._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.variables:
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
    for variable in backbone.variables:
        if variable.name == "bias":  # of zeros none would be missed
            variable.assign(random.uniform(-0.5, 0.5, variable.shape))
    return build(backbone, 2, 0.0, 0, "tf")


def assert_near(found, expected, tolerance=1e-4):
    largest = np.abs(expected).max()
    assert largest > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("thaw", ["none", "odd_begins", "top"])
def test_prefix_and_suffix_are_keras(network, thaw):
    given = network.as_input(images(3).astype(np.float32))
    expected = network.pool(network.backbone(given, training=False))
    index = first_trained(network.backbone, Phase("phase", thaw=thaw))
    engine = cut(network, index, "auto", threads=1)
    pooled = tf.function(engine.suffix, autograph=False)(engine.prefix(images(3)))
    assert_near(pooled, expected)
    alone = engine.prefix(images(3)[1:2]).numpy()
    np.testing.assert_array_equal(engine.prefix(images(3)).numpy()[1:2], alone)


def test_gradients_are_those_of_keras(network):
    index = first_trained(network.backbone, Phase("phase", thaw="odd_begins"))
    variables = freeze(network, index)[:-2]
    found = border(network, index)
    features = Part(found.graph, 0, found.at, fold=False)(network.as_input(images(3) * 1.0))

    def gradients(fold):
        trained = leaf_layers(network.backbone)
        part = Part(found.graph, found.at, len(found.graph.steps), fold, trained)

        @tf.function(autograph=False)
        def compute(features):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(tf.square(network.pool(part(features))))
            return tape.gradient(total, [variable.value for variable in variables])

        require_exact_sums(compute.get_concrete_function(features))
        return compute(features)

    for variable, one, other in zip(variables, gradients(True), gradients(False), strict=True):
        scale = max(np.abs(other).max(), 1e-3)
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3 * scale, err_msg=variable.path)


def test_a_layer_that_is_trained_is_never_below_the_cut(network):
    for index in range(len(network.backbone.layers)):
        found = border(network, index)
        trained = {id(v) for v in freeze(network, index)}
        below = [s.operation for s in found.graph.steps[: found.at]]
        assert not {id(v) for each in below for v in getattr(each, "variables", ())} & trained


def test_where_a_class_was_seen_is_shown(network):
    assert make_gradcam(network)(images(2), np.array([1, 0])).max() == pytest.approx(1.0)


class WithoutGraph(keras.Model):
    def call(self, images):
        return images


def small(*above, shape=(SIZE, SIZE, 3)):
    return keras.Sequential([keras.Input(shape), layers.Conv2D(4, 3), *above])


def two_inputs():
    one, other = keras.Input((SIZE, SIZE, 3)), keras.Input((3,))
    both = [layers.GlobalAveragePooling2D()(one), other]
    return keras.Model([one, other], layers.Concatenate()(both))


def two_outputs():
    taken = keras.Input((SIZE, SIZE, 3))
    return keras.Model(taken, [layers.Conv2D(4, 3)(taken), layers.Conv2D(4, 3)(taken)])


def one_without_graph_inside():
    taken = keras.Input((SIZE, SIZE, 3))
    return keras.Model(taken, WithoutGraph()(taken))


REFUSED = {
    "a model that says in `call` what it computes": (WithoutGraph, "no graph of layers"),
    "one in a layer": (one_without_graph_inside, "no graph of layers"),
    "several inputs": (two_inputs, "has 2 inputs; expected one"),
    "several outputs": (two_outputs, "has 2 outputs; expected one"),
    "grey images": (lambda: small(shape=(SIZE, SIZE, 1)), r"takes \[n, 24, 24, 1\]"),
    "images of any size": (lambda: small(shape=(None, None, 3)), r"takes \[n, \?, \?, 3\]"),
    "images that are not square": (lambda: small(shape=(SIZE, 20, 3)), "square images"),
    "no map to pool": (lambda: small(layers.Reshape((-1, 4))), r"puts out \[n, 484, 4\]"),
    "no map at all": (
        lambda: keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Flatten()]),
        "no place where a single feature map passes",
    ),
    "half precision": (lambda: small(layers.ReLU(dtype="float16")), "numbers of type float16"),
}


@pytest.mark.parametrize(("made", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_backbone_is_refused_in_a_line(made, said):
    with pytest.raises(UserError, match=f"--backbone=it.keras .*{said}") as error:
        require_usable(made(), "--backbone=it.keras")
    assert "\n" not in str(error.value)
