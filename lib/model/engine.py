"""Computes the network: the frozen part once and fast, the trained part under the tape.

The network is cut in front of the block of its first trained layer, where a single tensor passes, a
seventh of the size of what passes inside of a block. What lies below, the prefix, is a fixed
function of the images; what lies above, the suffix, is what the training step differentiates.

Two engines compute the same to within rounding: "plain" runs Keras' layers as they are, "auto"
folds the batch normalisation and gives the prefix to the fastest executor on the device at hand.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from lib.model import folding
from lib.model.freezing import block
from lib.model.interpreters import interpreted
from lib.model.network import Network, as_network_input

Part = Callable[[tf.Tensor], tf.Tensor]

# From this layer on, a feature map is a sixteenth as wide as the image.
_NARROW = "block_7_expand"


@dataclasses.dataclass(frozen=True)
class Engine:
    """A network cut in two.

    Attributes:
        prefix: images, float32 or uint8 [n, size, size, 3], 0 to 255, to features. Called outside
            of a graph, by any number of threads at once.
        signature: shape and type of the features, the number of images left open.
        suffix: features to pooled features, float32 [n, channels]. Called inside a `tf.function`;
            differentiable in the trained layers' variables.
        by_image: whether `prefix` gives an image the same bits whatever else is in its batch.
    """

    prefix: Callable[[np.ndarray | tf.Tensor], tf.Tensor]
    signature: tf.TensorSpec
    suffix: Part
    by_image: bool = False


def cut(network: Network, trained_from: int | None, kind: str, threads: int) -> Engine:
    """Cuts a network in front of the block of its first trained layer.

    Args:
        network: with the weights that the prefix is to have: it is taken as it is now.
        trained_from: index of the backbone's first trained layer; None if all of it is frozen.
        kind: "auto" or "plain".
        threads: processor threads of an executor that has its own.
    """
    backbone = network.backbone
    first = None if trained_from is None else _block_start(backbone, trained_from)
    wide, narrow, above = (_plain if kind == "plain" else _folded)(backbone, first)

    def begin(images: tf.Tensor) -> tf.Tensor:
        return wide(as_network_input(images))

    def end(features: tf.Tensor) -> tf.Tensor:
        # With the whole backbone frozen, pooling is frozen too, and its output far smaller.
        return network.pool(narrow(features)) if trained_from is None else narrow(features)

    def suffix(features: tf.Tensor) -> tf.Tensor:
        return above(features) if trained_from is None else network.pool(above(features))

    on_processor = not tf.config.list_physical_devices("GPU")
    if kind == "auto" and on_processor:
        begun = _graph(begin, tf.TensorSpec((1, *backbone.input_shape[1:])))
        ended = _graph(end, _any_number_of(begun))
        prefix = interpreted(begun, ended, threads)
        return Engine(prefix, _any_number_of(ended), suffix, by_image=True)
    graph = _graph(lambda images: end(begin(images)), tf.TensorSpec(backbone.input_shape))
    return Engine(lambda images: graph(tf.cast(images, tf.float32)), _any_number_of(graph), suffix)


def _graph(part: Part, taken: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    return tf.function(part, autograph=False).get_concrete_function(taken)


def _any_number_of(graph: tf.types.experimental.ConcreteFunction) -> tf.TensorSpec:
    """What a graph puts out, for any number of images."""
    features = graph.structured_outputs
    return tf.TensorSpec((None, *features.shape[1:]), features.dtype)


def _block_start(backbone: keras.Model, layer: int) -> int:
    """The index of the first layer of a layer's block."""
    blocks = [block(each.name) for each in backbone.layers]
    # Layer 0 is the input, which has nothing to compute.
    return max(1, blocks.index(blocks[layer]))


def _plain(backbone: keras.Model, first: int | None) -> tuple[Part, Part, Part]:
    """The parts as Keras computes them, cut in front of layer `first`; None: nothing is above."""
    if first is None:
        lower, upper = backbone, lambda features, training: features
    else:
        border = backbone.layers[first].input
        lower, upper = keras.Model(backbone.input, border), keras.Model(border, backbone.output)
    return (
        lambda images: lower(images, training=False),
        lambda features: features,
        lambda features: upper(features, training=False),
    )


def _folded(backbone: keras.Model, first: int | None) -> tuple[Part, Part, Part]:
    """Batch normalisation is folded, and what lies below has constant weights and two parts.

    Returns:
        The parts below with wide and with narrow feature maps, and the part above.
    """
    lower = backbone.layers[1:first]
    upper = [] if first is None else backbone.layers[first:]
    names = [layer.name for layer in backbone.layers]
    narrow = names.index(_NARROW) - 1  # the input is not in the lower part
    constants = folding.constants(lower)

    def part(layers: Sequence[keras.layers.Layer]) -> Part:
        return lambda features: folding.evaluate(layers, features, constants)

    return (
        part(lower[:narrow]),
        part(lower[narrow:]),
        lambda features: folding.evaluate(upper, features),
    )
