"""Networks of `keras.applications` whose numbers mean something, small images, and no downloads."""

import contextlib
import hashlib
import math

import keras
import numpy as np
import tensorflow as tf

from lib.config import Config, Phase
from lib.model.backbones import BACKBONES, options_of
from lib.model.engine import border
from lib.model.folding import Part
from lib.model.freezing import first_trained, freeze
from lib.model.graph import leaf_layers
from lib.model.network import Network, build, scaled, weights_sha256
from lib.system.exact_sums import require_exact_sums

SIZE = 96
TRAINED = (
    *("mobilenet_v2", "mobilenet_v3_small", "efficientnet_v2_b0", "resnet50", "densenet121"),
    *("convnext_tiny", "inception_v3"),
)
TOP = Phase("top", thaw="20%")


def images(count: int, size: int = SIZE) -> np.ndarray:
    """Noise, coarse and fine, uint8 [count, size, size, 3]."""
    random = np.random.default_rng(5)
    coarse = tf.image.resize(random.uniform(0, 255, (count, size // 8, size // 8, 3)), (size, size))
    fine = random.normal(0, 60, (count, size, size, 3))
    return (coarse.numpy() + fine).clip(0, 255).astype(np.uint8)


def lively(backbone: str, size: int = SIZE) -> Network:
    """A backbone as `--backbone` names it, each layer of which varies; one logit.

    Scale and offset of normalisation are random numbers, and its statistics those of noise: with
    those of an untrained network all features would be the same, and a mistake would not show.
    """
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    name, options = options_of(Config(backbone=backbone))
    backbone = BACKBONES[name](size, None, **options)
    scaling = BACKBONES.records[name].scaling
    random = np.random.default_rng(7)
    normalisations = []
    for layer in backbone._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            normalisations.append((layer, layer.momentum))
            layer.momentum = 0.0
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
            if layer.gamma is not None:
                layer.gamma.assign(random.uniform(0.6, 1.4, layer.gamma.shape))
            layer.beta.assign(random.uniform(0.0, 0.8, layer.beta.shape))
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(random.uniform(0.1, 0.5, layer.gamma.shape))
    if normalisations:
        noise = scaled(tf.constant(images(16, size), tf.float32), scaling)
        tf.function(lambda x: backbone(x, training=True), autograph=False)(noise)
    for layer, momentum in normalisations:
        layer.momentum = momentum
    return build(backbone, classes=2, dropout=0.2, seed=0, scaling=scaling)


@contextlib.contextmanager
def float64():
    """Lets Keras build in double precision."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def features_at_the_cut(network: Network, count: int) -> tf.Tensor:
    """What enters the trained part where the top is trained, of some images."""
    found = border(network, first_trained(network.backbone, TOP))
    below = Part(found.graph, 0, found.at, fold=False)
    return tf.function(lambda x: below(network.as_input(x)), autograph=False)(
        tf.constant(images(count), tf.float32)
    )


def gradient_step(network: Network, fold: bool, shape):
    """A traced function of features to the gradients of all that is trained of the backbone."""
    variables = freeze(network, first_trained(network.backbone, TOP))[:-2]  # without the head's
    found = border(network, first_trained(network.backbone, TOP))
    trained = leaf_layers(network.backbone)
    part = Part(found.graph, found.at, len(found.graph.steps), fold, trained)

    @tf.function(autograph=False)
    def compute(features):
        with tf.GradientTape() as tape:
            pooled = network.pool(part(features))
            weights = tf.cast(tf.range(pooled.shape[1]) % 7 - 3, pooled.dtype)
            total = tf.reduce_sum(pooled * weights)
        return tape.gradient(total, [variable.value for variable in variables])

    spec = tf.TensorSpec((None, *shape[1:]), network.backbone.compute_dtype)
    return compute.get_concrete_function(spec), variables


def weights_after_three_steps(name: str) -> str:
    """The digest of what three steps of plain descent leave of a lively network's weights."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    network = build(BACKBONES[name](SIZE, None), classes=2, dropout=0.2, seed=0)
    found = border(network, first_trained(network.backbone, TOP))
    numbers = [found.graph.shapes[key] for key in found.graph.crossings[found.at]]
    shape = numbers[0] if len(numbers) == 1 else [sum(map(math.prod, numbers))]
    features = tf.random.stateless_normal([4, *shape], seed=[1, 2])
    step, variables = gradient_step(network, fold=True, shape=features.shape)
    require_exact_sums(step)
    digest = hashlib.sha256(features.numpy().tobytes())
    for _ in range(3):
        for variable, gradient in zip(variables, step(features), strict=True):
            norm = tf.norm(gradient) + 1e-6
            variable.assign_sub(1e-3 * gradient / norm)
    digest.update(weights_sha256(variables).encode())
    return digest.hexdigest()
