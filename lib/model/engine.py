"""Computes the network: the frozen part once and fast, the trained part under the tape.

The network is cut at or below its first trained layer, where the least passes. What lies below, the
prefix, is a fixed function of the images; what lies above, the suffix, is what the training step
differentiates.

Two engines compute the same to within rounding: "plain" runs Keras' layers as they are, "auto"
folds the batch normalisation and gives the prefix to the fastest executor on the device at hand.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from lib.model.folding import Part, Weights
from lib.model.graph import Graph, graph_of, leaf_layers
from lib.model.interpreters import TOGETHER, Unsuitable, converted, interpreted
from lib.model.network import Network
from lib.system.progress import say
from lib.system.runtime import release_memory

# A part of the prefix, called inside of a graph.
Stage = Callable[[tf.Tensor], tf.Tensor]

# A feature map whose sides are this part of the image's is narrow: the weights of the layers
# behind it are larger than what they compute.
_NARROW = 16
# How far LiteRT's features may be from TensorFlow's, as a part of the largest one.
_NEAR = 1e-3


@dataclasses.dataclass(frozen=True)
class Engine:
    """A network cut in two.

    Attributes:
        prefix: images, float32 or uint8 [n, size, size, 3], 0 to 255, to features; of images that
            are larger than the network takes, it sees the middle. Called outside of a graph, by any
            number of threads at once.
        signature: shape and type of the features, the number of images left open.
        suffix: features to pooled features, float32 [n, channels], with the given weights, or with
            those of this moment. Called inside a `tf.function`; differentiable in the weights and
            in the trained layers' variables.
        weights: what `suffix` makes of the trained layers' variables before it computes, see
            `lib.model.folding.Part.weights`; without it, nothing.
        by_image: whether `prefix` gives an image the same bits whatever else is in its batch.
    """

    prefix: Callable[[np.ndarray | tf.Tensor], tf.Tensor]
    signature: tf.TensorSpec
    suffix: Callable[..., tf.Tensor]
    weights: Callable[[], Sequence[Weights]] = tuple
    by_image: bool = False


@dataclasses.dataclass(frozen=True)
class Border:
    """Where a network is cut.

    Attributes:
        graph: of its backbone.
        narrow: the first step of the prefix whose feature maps are narrow.
        at: the first step of the suffix; `len(graph.steps)` where all of the backbone is frozen.
    """

    graph: Graph
    narrow: int
    at: int


def border(network: Network, trained_from: int | None) -> Border:
    """Finds where a network is cut.

    Args:
        network: whose backbone is cut.
        trained_from: index of the backbone's first trained layer; None if all of it is frozen.
    """
    graph = graph_of(network.backbone)
    at = len(graph.steps)
    if trained_from is not None:
        # A layer that is called twice is trained where it is called first.
        trained = _trained(network, trained_from)
        calls = (i for i, step in enumerate(graph.steps) if step.operation in trained)
        at = graph.cheapest_cut(min(calls, default=at))
    return Border(graph, min(at, graph.narrow_from(-(-network.image_size // _NARROW))), at)


def _trained(network: Network, trained_from: int | None) -> set[keras.layers.Layer]:
    return set() if trained_from is None else set(leaf_layers(network.backbone)[trained_from:])


def cut(network: Network, trained_from: int | None, kind: str, threads: int) -> Engine:
    """Cuts a network at or below its first trained layer.

    Args:
        network: with the weights that the prefix is to have: it is taken as it is now.
        trained_from: index of the backbone's first trained layer; None if all of it is frozen.
        kind: "auto" or "plain".
        threads: processor threads of an executor that has its own.
    """
    found, fold = border(network, trained_from), kind != "plain"
    graph, end_of_all = found.graph, len(found.graph.steps)
    bounds = [0, *graph.pieces(found.narrow, found.at)]
    above = Part(graph, found.at, end_of_all, fold, _trained(network, trained_from))

    def piece(number: int) -> Stage:
        """The first takes images, the last gives features."""
        part = Part(graph, *bounds[number : number + 2], fold)
        if number == 0:
            return lambda images: part(network.as_input(images))
        # With the whole backbone frozen, pooling is frozen too, and its output far smaller.
        last = trained_from is None and number == len(bounds) - 2
        return (lambda features: network.pool(part(features))) if last else part

    def suffix(features: tf.Tensor, weights: Sequence[Weights] | None = None) -> tf.Tensor:
        result = above(features, weights)
        return result if trained_from is None else network.pool(result)

    shape, pieces = network.backbone.input_shape[1:], range(len(bounds) - 1)
    on_processor = not tf.config.list_physical_devices("GPU")
    if kind == "auto" and on_processor:
        try:
            prefix, signature = _fastest(map(piece, pieces), shape, threads)
            seen = lambda images: prefix(network.seen(images))  # noqa: E731
            return Engine(seen, signature, suffix, above.weights, by_image=True)
        except Unsuitable as error:
            say(f"The frozen part is computed by TensorFlow, which is slower: {error}")
    stages = list(map(piece, pieces))
    below = _graph(
        lambda images: functools.reduce(lambda features, stage: stage(features), stages, images),
        (None, *shape),
    )
    prefix = lambda images: below(tf.cast(network.seen(images), tf.float32))  # noqa: E731
    return Engine(prefix, _given_by(below), suffix, above.weights)


def _fastest(
    stages: Iterable[Stage], shape: Sequence[int], threads: int
) -> tuple[Callable[[np.ndarray | tf.Tensor], tf.Tensor], tf.TensorSpec]:
    """The prefix as LiteRT runs it, if that equals TensorFlow, and what it gives.

    Args:
        stages: one after the other; each is made, converted and let go, as that takes memory.
        shape: of an image.
        threads: processor threads.

    Raises:
        Unsuitable: it does not, or LiteRT cannot run it.
    """
    count = TOGETHER * threads  # so that there are as many as ever go together
    images = np.random.default_rng(0).uniform(0, 255, (count, *shape)).astype(np.float32)
    expected, programs = tf.constant(images[:1]), []
    for stage in stages:
        graph = _graph(stage, (None if programs else 1, *expected.shape[1:]))
        programs.append(converted(graph))
        expected, signature = graph(expected), _given_by(graph)
        del stage, graph
        release_memory()
    found = interpreted(programs, threads)
    together, looked_at = found(images).numpy(), (0, TOGETHER // 2, TOGETHER - 1)
    alone = np.concatenate([found(images[i : i + 1]).numpy() for i in looked_at])
    expected = expected.numpy()
    largest, difference = np.abs(expected).max(), np.abs(alone[:1] - expected).max()
    if not difference <= _NEAR * largest:  # nor where one is no number
        raise Unsuitable(f"LiteRT's features differ by {difference:.2g} of {largest:.2g}")
    # An image has the same features in whatever company, or else goes alone.
    same = np.array_equal(together[list(looked_at)], alone)
    return found if same else interpreted(programs, threads, together=1), signature


def _graph(stage: Stage, taken: Sequence[int | None]) -> tf.types.experimental.ConcreteFunction:
    return tf.function(stage, autograph=False).get_concrete_function(tf.TensorSpec(taken))


def _given_by(graph: tf.types.experimental.ConcreteFunction) -> tf.TensorSpec:
    """What a graph puts out, for any number of images."""
    features = graph.structured_outputs
    return tf.TensorSpec((None, *features.shape[1:]), features.dtype)
