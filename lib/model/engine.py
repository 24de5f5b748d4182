"""How the network is computed: the frozen part once and fast, the trained part under the tape.

The network is cut in front of the block of its first trained layer, where a single tensor passes, a
seventh of the size of what passes inside of a block. What lies below, the prefix, is a fixed
function of the pictures; what lies above, the suffix, is what the training step differentiates.

Two engines compute the same to within rounding: "plain" runs Keras' layers as they are, "auto"
folds the batch normalisation and gives the prefix to the fastest executor on the device at hand.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import keras
import numpy as np
import tensorflow as tf

from lib.model import folding
from lib.model.freezing import block
from lib.model.network import Network, as_network_input
from lib.runtime import quietly, release_memory

Part = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Engine:
    """A network cut in two.

    Attributes:
        prefix: pictures, float32 or uint8 [n, size, size, 3], 0 to 255, to features. Called outside
            of a graph, by as many threads at once as like.
        signature: shape and type of the features, the number of pictures left open.
        suffix: features to pooled features, float32 [n, channels]. Called inside a `tf.function`;
            differentiable in the trained layers' variables.
    """

    prefix: Callable[[np.ndarray | tf.Tensor], tf.Tensor]
    signature: tf.TensorSpec
    suffix: Part


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
    below, above = (_plain if kind == "plain" else _folded)(backbone, first)

    def prefix(pictures: tf.Tensor) -> tf.Tensor:
        features = below(as_network_input(pictures))
        # With the whole backbone frozen, pooling is frozen too, and its output far smaller.
        return _pooled(features) if trained_from is None else features

    def suffix(features: tf.Tensor) -> tf.Tensor:
        return above(features) if trained_from is None else _pooled(above(features))

    on_processor = not tf.config.list_physical_devices("GPU")
    interpreted = kind == "auto" and on_processor
    count = 1 if interpreted else None
    pictures = tf.TensorSpec((count, *backbone.input_shape[1:]), tf.float32)
    graph = tf.function(prefix, autograph=False).get_concrete_function(pictures)
    features = graph.structured_outputs
    signature = tf.TensorSpec((None, *features.shape[1:]), features.dtype)
    if interpreted:
        return Engine(_interpreted(graph, threads), signature, suffix)
    return Engine(lambda pictures: graph(tf.cast(pictures, tf.float32)), signature, suffix)


def _block_start(backbone: keras.Model, layer: int) -> int:
    """The index of the first layer of a layer's block."""
    blocks = [block(each.name) for each in backbone.layers]
    # Layer 0 is the input, which has nothing to compute.
    return max(1, blocks.index(blocks[layer]))


def _plain(backbone: keras.Model, first: int | None) -> tuple[Part, Part]:
    """Both parts as Keras computes them, cut in front of layer `first`; None: nothing is above."""
    if first is None:
        lower, upper = backbone, lambda features, training: features
    else:
        border = backbone.layers[first].input
        lower, upper = keras.Model(backbone.input, border), keras.Model(border, backbone.output)
    return (
        lambda pictures: lower(pictures, training=False),
        lambda features: upper(features, training=False),
    )


def _folded(backbone: keras.Model, first: int | None) -> tuple[Part, Part]:
    """As `_plain`, but batch normalisation is folded, and the weights below are constants."""
    lower = backbone.layers[1:first]
    upper = [] if first is None else backbone.layers[first:]
    normalisation = folding.followers(lower)
    constants = {
        layer.name: [
            None if weight is None else weight.numpy()
            for weight in folding.folded(layer, normalisation.get(layer.name))
        ]
        for layer in lower
        if isinstance(layer, folding.Convolution)
    }
    return (
        lambda pictures: folding.evaluate(lower, pictures, lambda layer, _: constants[layer.name]),
        lambda features: folding.evaluate(upper, features),
    )


def _interpreted(
    graph: tf.types.experimental.ConcreteFunction, threads: int
) -> Callable[[np.ndarray | tf.Tensor], tf.Tensor]:
    """A graph without variables, run by TensorFlow Lite's XNNPACK, which is faster than TensorFlow.

    Picture by picture, as its feature maps then stay in the processor's cache, each on one thread,
    so that no thread waits for another within a layer. What comes out for a picture depends on it
    alone.

    Args:
        graph: of one argument, a single picture.
        threads: processor threads.
    """
    idle: SimpleQueue[tf.lite.Interpreter] = SimpleQueue()
    with quietly():
        program = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
        for _ in range(threads):
            interpreter = tf.lite.Interpreter(model_content=program, num_threads=1)
            interpreter.allocate_tensors()
            idle.put(interpreter)
    release_memory()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    workers = ThreadPoolExecutor(threads, "interpreter")

    def compute(picture: np.ndarray) -> np.ndarray:
        interpreter = idle.get()  # never waits: there is one for each worker
        try:
            interpreter.set_tensor(source["index"], np.asarray(picture[np.newaxis], np.float32))
            interpreter.invoke()
            return interpreter.get_tensor(target["index"])
        finally:
            idle.put(interpreter)

    return lambda pictures: tf.constant(
        np.concatenate(list(workers.map(compute, np.asarray(pictures))))
    )


def _pooled(feature_map: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(feature_map, axis=(1, 2))
