"""Computes a part of a network, with its batch normalisation folded into what lies before it.

With fixed statistics, batch normalisation is a linear map per channel, so that
`bn(conv(x, k) + b) = conv(x, k * s) + (beta + (b - mean) * s)` where
`s = gamma / sqrt(variance + epsilon)` (Jacob et al., "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2). The folded form saves two
passes over every feature map and is differentiable in kernel, gamma and beta, so it serves training
as well as inference.

Folded is only what is sure to be the same: a layer without an activation of its own, whose result
nothing but the normalisation takes. Everything else is Keras' own call.

What training folds anew in each step is apart from what it is used for (`Part.weights`), so that
several parts of a batch can share it.
"""

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from lib.model.graph import Graph, Step

Array = tf.Tensor | np.ndarray
Shape = tuple[int | None, ...]
# What a step computes of its inputs.
Call = Callable[..., tf.Tensor]
# What a step computes with, made of its layer's variables: kernels, scale, bias, by name.
Weights = Mapping[str, Array]

_LINEAR = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


class Part:
    """Some steps of a network, in inference mode, as a function of what enters to what leaves.

    It takes and returns one tensor [n, ...]. Where several enter or leave, they are side by side in
    it, flat: [n, numbers].

    Args:
        graph: of the network.
        first: the first step.
        last: the step after the last one.
        fold: whether normalisation is folded, and written out what Keras computes slowly; else
            every step is Keras' own call.
        trained: layers whose variables may change, and in which the part can be differentiated.
            What is written out of the others is taken as it is now, as constants.
    """

    def __init__(
        self,
        graph: Graph,
        first: int,
        last: int,
        fold: bool,
        trained: Collection[keras.layers.Layer] = (),
    ):
        self._steps = graph.steps[first:last]
        self._entering, self._leaving = graph.crossings[first], graph.crossings[last]
        self._shapes = [graph.shapes[key] for key in self._entering]
        followers = followers_of(graph, first, last) if fold else {}
        # The normalisations that are folded into the steps before them.
        gone = {step.gives[0] for step in followers.values()}
        self._calls: list[Call] = []
        self._weights: list[Callable[[], Weights]] = []
        for number, step in enumerate(self._steps, start=first):
            follower = followers.get(number)
            if step.gives[0] in gone:
                call, weights = _identity, dict
            elif fold:
                call, weights = _written_out(graph, step, follower)
            else:
                call, weights = functools.partial(_as_keras, step), dict
            if not any(each.operation in trained for each in (step, follower) if each):
                kept = {name: weight.numpy() for name, weight in weights().items()}
                call, weights = functools.partial(call, **kept), dict
            self._calls.append(call)
            self._weights.append(weights)

    def weights(self) -> tuple[Weights, ...]:
        """What the written-out steps of trained layers compute with, of the variables as they are.

        Each is differentiable in the variables; of the other steps it is empty.
        """
        return tuple(
            {name: tf.convert_to_tensor(each) for name, each in weights().items()}
            for weights in self._weights
        )

    def __call__(self, features: tf.Tensor, weights: Sequence[Weights] | None = None) -> tf.Tensor:
        """Computes the part.

        Args:
            features: what enters.
            weights: what `weights` returned; None for what it returns now.
        """
        weights = self.weights() if weights is None else weights
        values = dict(zip(self._entering, _apart(features, self._shapes), strict=True))
        for call, step, own in zip(self._calls, self._steps, weights, strict=True):
            results = keras.tree.flatten(call(*(values[key] for key in step.takes), **own))
            values |= zip(step.gives, results, strict=True)
        return _side_by_side([values[key] for key in self._leaving])


def folded(layer: keras.layers.Layer, normalisation: keras.layers.Layer | None) -> Weights:
    """The weights of the one linear layer that equals the two in inference mode.

    Args:
        layer: a convolution or dense layer.
        normalisation: the batch normalisation behind it; None gives the layer's own weights.

    Returns:
        Its `kernel`, of a separable convolution also the `depthwise` one before it, and its `bias`
        if it has one.
    """
    weights = {}
    if isinstance(layer, keras.layers.SeparableConv2D):
        weights["depthwise"] = layer.depthwise_kernel.value
        kernel = layer.pointwise_kernel.value
    else:
        kernel = layer.kernel.value
    if _is_grouped(layer):  # each group is a channel: [h, w, 1, channels * results]
        kernel = tf.reshape(kernel, (*kernel.shape[:2], layer.groups, -1))
    bias = layer.bias.value if layer.use_bias else None
    if normalisation is not None:
        scale, bias = _scale_and_bias(normalisation, bias).values()
        if _is_depthwise(layer):
            scale = tf.reshape(scale, kernel.shape[2:])  # of a channel's several results, too
        kernel = kernel * scale
    return _present(**weights, kernel=kernel, bias=bias)


def _present(**weights: Array | None) -> Weights:
    return {name: weight for name, weight in weights.items() if weight is not None}


def _scale_and_bias(layer: keras.layers.Layer, added: tf.Tensor | None = None) -> Weights:
    """What a batch normalisation multiplies by and adds, of what something was added to before."""
    scale = tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
    if layer.scale:
        scale = layer.gamma.value * scale
    mean = layer.moving_mean.value if added is None else layer.moving_mean.value - added
    bias = layer.beta.value - mean * scale if layer.center else -mean * scale
    return {"scale": scale, "bias": bias}


def followers_of(graph: Graph, first: int, last: int) -> dict[int, Step]:
    """Which normalisation can be folded into which step before it.

    Args:
        graph: of the network.
        first: the first step of a part of it.
        last: the step after that part.

    Returns:
        The normalisation's step, by the number of the step before it.
    """
    uses = Counter(key for step in graph.steps for key in step.takes)
    uses[graph.output] += 1
    maker = {graph.steps[i].gives[0]: i for i in range(first, last)}
    found = {}
    for step in graph.steps[first:last]:
        if not _is_normalisation(step, graph):
            continue
        before = maker.get(step.takes[0])
        if before is None or uses[step.takes[0]] > 1:
            continue
        layer = graph.steps[before].operation
        if _is_linear(graph.steps[before], graph) and layer.activation is keras.activations.linear:
            found[before] = step
    return found


def _is_normalisation(step: Step, graph: Graph) -> bool:
    layer, rank = step.operation, len(step.shapes[0]) + 1
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, rank - 1)
        and _is_of_one_type(step)
    )


def _is_linear(step: Step, graph: Graph) -> bool:
    """Whether a step is a convolution or dense layer that is known here in all that it does."""
    layer = step.operation
    # Of a subclass it is not known what its `call` does.
    if type(layer) not in _LINEAR or not _is_of_one_type(step):
        return False
    if isinstance(layer, keras.layers.Dense):
        return len(graph.shapes[step.takes[0]]) in (1, 3) and layer.quantization_mode is None
    return layer.data_format == "channels_last" and (not _is_grouped(layer) or _is_depthwise(layer))


def _is_grouped(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "groups", 1) > 1


def _is_depthwise(layer: keras.layers.Layer) -> bool:
    """Whether each result is of one channel: also said as a convolution of as many groups.

    TensorFlow computes and differentiates groups much more slowly on a processor.
    """
    if _is_grouped(layer):
        return layer.kernel.shape[2] == 1 and layer.strides[0] == layer.strides[1]
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def _is_of_one_type(step: Step) -> bool:
    """Whether a layer takes one tensor, of the type of its weights, and computes in that type."""
    layer = step.operation
    return (
        [tensor.dtype for tensor in step.arguments.keras_tensors] == [layer.compute_dtype]
        and layer.compute_dtype == layer.variable_dtype
        and not getattr(layer, "lora_enabled", False)
    )


def _written_out(
    graph: Graph, step: Step, follower: Step | None
) -> tuple[Call, Callable[[], Weights]]:
    """The function that a step computes, and what gives its weights; else Keras' own call."""
    layer = step.operation
    if _is_linear(step, graph):
        weights = functools.partial(folded, layer, follower and follower.operation)
        return functools.partial(_linear, layer), weights
    if _is_normalisation(step, graph):
        return _scaled, functools.partial(_scale_and_bias, layer)
    if _is_layer_normalisation(step):
        weights = functools.partial(_gamma_and_beta, layer)
        return functools.partial(_normalised, layer.epsilon), weights
    if type(layer) is keras.layers.Reshape and None not in step.shapes[0]:
        return lambda features: tf.reshape(features, (-1, *step.shapes[0])), dict
    return functools.partial(_as_keras, step), dict


def _identity(features: tf.Tensor) -> tf.Tensor:
    return features


def _as_keras(step: Step, *inputs: tf.Tensor) -> tf.Tensor:
    """What Keras computes in a step, in inference mode."""
    values = dict(zip(step.takes, inputs, strict=True))
    arguments, options = step.arguments.fill_in({i: values[key] for i, key in step.keys.items()})
    if isinstance(step.operation, keras.layers.Layer) and _takes_training(step.operation):
        options = {**options, "training": False}
    return step.operation(*arguments, **options)


def _takes_training(layer: keras.layers.Layer) -> bool:
    return "training" in inspect.signature(layer.call).parameters


def _linear(
    layer: keras.layers.Layer,
    features: tf.Tensor,
    kernel: Array,
    depthwise: Array | None = None,
    bias: Array | None = None,
) -> tf.Tensor:
    if isinstance(layer, keras.layers.Dense):
        result = _dense(features, kernel)
    elif _is_depthwise(layer):
        result = _depthwise(layer, features, kernel)
    elif depthwise is not None:
        result = _convolved(_depthwise(layer, features, depthwise), kernel)
    else:
        result = _convolved(features, kernel, layer.strides, layer.padding, layer.dilation_rate)
    # The sum's gradient is taken by all threads, that of `bias_add` by one.
    result = result if bias is None else result + bias
    return result if layer.activation is None else layer.activation(result)


def _dense(features: tf.Tensor, kernel: Array) -> tf.Tensor:
    if features.shape.rank == 2:
        return tf.matmul(features, kernel)
    if tf.is_tensor(kernel):
        return tf.tensordot(features, kernel, axes=1)
    return tf.nn.conv2d(features, kernel[np.newaxis, np.newaxis], 1, "VALID")


def _depthwise(layer: keras.layers.Layer, features: tf.Tensor, kernel: Array) -> tf.Tensor:
    strides = [1, *layer.strides, 1]
    return tf.nn.depthwise_conv2d(
        features, kernel, strides, layer.padding.upper(), dilations=layer.dilation_rate
    )


def _convolved(
    features: tf.Tensor,
    kernel: Array,
    strides: Sequence[int] = (1, 1),
    padding: str = "valid",
    dilations: Sequence[int] = (1, 1),
) -> tf.Tensor:
    padding = padding.upper()
    if tuple(kernel.shape[:2]) == (1, 1) and tf.is_tensor(kernel):
        # A product of matrices has the faster gradients; constants need none.
        if tuple(strides) != (1, 1):
            features = features[:, :: strides[0], :: strides[1]]
        return tf.tensordot(features, tf.squeeze(kernel, [0, 1]), axes=1)
    if tuple(dilations) != (1, 1):  # of which `conv2d` has no gradient on processors
        return tf.nn.convolution(features, kernel, strides, padding, dilations=dilations)
    return tf.nn.conv2d(features, kernel, strides, padding)


def _scaled(features: tf.Tensor, scale: Array, bias: Array) -> tf.Tensor:
    return features * scale + bias


def _is_layer_normalisation(step: Step) -> bool:
    layer, rank = step.operation, len(step.shapes[0]) + 1
    return (
        type(layer) is keras.layers.LayerNormalization
        and not layer.rms_scaling
        and (layer.axis if isinstance(layer.axis, int) else tuple(layer.axis))
        in (-1, rank - 1, (-1,), (rank - 1,))
        and _is_of_one_type(step)
    )


def _gamma_and_beta(layer: keras.layers.Layer) -> Weights:
    return _present(
        gamma=layer.gamma.value if layer.scale else None,
        beta=layer.beta.value if layer.center else None,
    )


def _normalised(
    epsilon: float, features: tf.Tensor, gamma: Array | None = None, beta: Array | None = None
) -> tf.Tensor:
    """Layer normalisation over the channels; no tensor is used more than twice."""
    centred = features - tf.reduce_mean(features, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    result = centred * tf.math.rsqrt(variance + epsilon)
    result = result if gamma is None else result * gamma
    return result if beta is None else result + beta


def _side_by_side(values: Sequence[tf.Tensor]) -> tf.Tensor:
    if len(values) == 1:
        return values[0]
    return tf.concat([tf.reshape(each, (-1, math.prod(each.shape[1:]))) for each in values], axis=1)


def _apart(features: tf.Tensor, shapes: Sequence[Shape]) -> list[tf.Tensor]:
    if len(shapes) == 1:
        return [features]
    parts = tf.split(features, [math.prod(shape) for shape in shapes], axis=1)
    return [tf.reshape(part, (-1, *shape)) for part, shape in zip(parts, shapes, strict=True)]
