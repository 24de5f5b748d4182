"""How the network is computed: the frozen part once and fast, the trained part under the tape.

The network is cut in front of its first trained layer. What lies below, the prefix, is a fixed
function of the pictures; what lies above, the suffix, is what the training step differentiates. The
cut may cross a residual branch, so what passes it is a tuple of tensors: the features.

Two engines compute the same to within rounding: "plain" runs Keras' layers as they are, "auto"
folds the batch normalisation and gives the prefix to the fastest executor on the device at hand.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from lib.model import folding
from lib.model.network import Network, as_network_input
from lib.runtime import quietly

Features = tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Engine:
    """A network cut in two.

    Attributes:
        prefix: pictures, float32 or uint8 [n, size, size, 3], 0 to 255, to features.
            Called outside of a graph.
        signature: shape and type of each of the features, the number of pictures left open.
        suffix: features to pooled features, float32 [n, channels]. Called inside a `tf.function`;
            differentiable in the trained layers' variables.
    """

    prefix: Callable[[np.ndarray | tf.Tensor], Features]
    signature: tuple[tf.TensorSpec, ...]
    suffix: Callable[[Features], tf.Tensor]


def cut(network: Network, trained_from: int | None, kind: str, threads: int) -> Engine:
    """Cuts a network in front of its first trained layer.

    Args:
        network: with the weights that the prefix is to have: it is taken as it is now.
        trained_from: index of the backbone's first trained layer; None if all of it is frozen.
        kind: "auto" or "plain".
        threads: processor threads of an executor that has its own.
    """
    backbone = network.backbone
    # Layer 0 is the input, which has nothing to train.
    first = len(backbone.layers) if trained_from is None else max(1, trained_from)
    edge = _edge(backbone.layers, first)
    below, above = (_plain if kind == "plain" else _folded)(backbone, first, edge)

    def prefix(pictures: tf.Tensor) -> Features:
        features = below(as_network_input(pictures))
        # With the whole backbone frozen, pooling is frozen too, and its output far smaller.
        return (_pooled(features[0]),) if trained_from is None else tuple(features)

    def suffix(features: Features) -> tf.Tensor:
        return features[0] if trained_from is None else _pooled(above(features))

    on_processor = not tf.config.list_physical_devices("GPU")
    interpreted = kind == "auto" and on_processor
    count = 1 if interpreted else None
    pictures = tf.TensorSpec((count, *backbone.input_shape[1:]), tf.float32)
    graph = tf.function(prefix).get_concrete_function(pictures)
    signature = tuple(
        tf.TensorSpec((None, *output.shape[1:]), output.dtype)
        for output in graph.structured_outputs
    )
    if interpreted:
        return Engine(_interpreted(graph, threads), signature, suffix)
    return Engine(lambda pictures: graph(tf.cast(pictures, tf.float32)), signature, suffix)


def _edge(layers: Sequence[keras.layers.Layer], first: int) -> list[str]:
    """The layers below `first` whose outputs pass the cut."""
    if first == len(layers):
        return [layers[-1].name]
    below = {layer.name for layer in layers[:first]}
    taken = (name for layer in layers[first:] for name in folding.sources(layer))
    return [name for name in dict.fromkeys(taken) if name in below]


def _plain(backbone: keras.Model, first: int, edge: list[str]):
    """Both parts as Keras computes them."""
    tensors = [backbone.get_layer(name).output for name in edge]
    lower = keras.Model(backbone.input, tensors)

    def below(pictures: tf.Tensor) -> list[tf.Tensor]:
        return keras.tree.flatten(lower(pictures, training=False))

    if first == len(backbone.layers):
        return below, None  # nothing is above

    upper = keras.Model(tensors, backbone.output)
    return below, lambda features: upper(list(features), training=False)


def _folded(backbone: keras.Model, first: int, edge: list[str]):
    """Both parts with folded batch normalisation, the lower one's weights being constants."""
    lower, upper = backbone.layers[:first], backbone.layers[first:]
    normalisation = folding.followers(lower)
    constants = {
        layer.name: [
            None if weight is None else weight.numpy()
            for weight in folding.folded(layer, normalisation.get(layer.name))
        ]
        for layer in lower
        if isinstance(layer, folding.Convolution)
    }

    def below(pictures: tf.Tensor) -> list[tf.Tensor]:
        inputs = {lower[0].name: pictures}
        return folding.evaluate(lower, inputs, edge, lambda layer, _: constants[layer.name])

    def above(features: Features) -> tf.Tensor:
        inputs = dict(zip(edge, features, strict=True))
        return folding.evaluate(upper, inputs, [upper[-1].name])[0]

    return below, above


def _interpreted(
    graph: tf.types.experimental.ConcreteFunction, threads: int
) -> Callable[[np.ndarray | tf.Tensor], Features]:
    """A graph without variables, run by TensorFlow Lite's XNNPACK, which is faster than TensorFlow.

    Picture by picture, as its feature maps then stay in the processor's cache, each on one thread,
    so that no thread waits for another within a layer. What comes out for a picture depends on it
    alone.

    Args:
        graph: of one argument, a single picture.
        threads: processor threads.
    """
    with quietly():
        program = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
        interpreters = [
            tf.lite.Interpreter(model_content=program, num_threads=1) for _ in range(threads)
        ]
        for interpreter in interpreters:
            interpreter.allocate_tensors()
    source = interpreters[0].get_input_details()[0]["index"]
    # The converter names outputs after their place, and may list them in another order.
    outputs = sorted(interpreters[0].get_output_details(), key=lambda output: output["name"])
    workers = ThreadPoolExecutor(threads, "interpreter")

    def run(pictures: np.ndarray | tf.Tensor) -> Features:
        pictures = np.asarray(pictures)
        features = [np.empty((len(pictures), *o["shape"][1:]), o["dtype"]) for o in outputs]

        def compute(worker: int) -> None:
            interpreter = interpreters[worker]
            for i in range(worker, len(pictures), threads):
                # Views into the interpreter's memory save copies; none outlives its line.
                interpreter.tensor(source)()[0] = pictures[i]
                interpreter.invoke()
                for of_all, output in zip(features, outputs, strict=True):
                    of_all[i] = interpreter.tensor(output["index"])()[0]

        list(workers.map(compute, range(threads)))
        return tuple(map(tf.constant, features))

    return run


def _pooled(feature_map: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(feature_map, axis=(1, 2))
