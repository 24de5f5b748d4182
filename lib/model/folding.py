"""Computes a part of a network, with its batch normalisation folded into what lies before it.

With fixed statistics, batch normalisation is a linear map per channel, so that
`bn(conv(x, k) + b) = conv(x, k * s) + (beta + (b - mean) * s)` where
`s = gamma / sqrt(variance + epsilon)` (Jacob et al., "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2). The folded form saves two
passes over every feature map and is differentiable in kernel, gamma and beta, so it serves training
as well as inference.

Folded is only what is sure to be the same: a layer without an activation of its own, whose result
nothing but the normalisation takes. Everything else is Keras' own call.
"""

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from lib.model.graph import Graph, Step

Array = tf.Tensor | np.ndarray
Shape = tuple[int | None, ...]
# What a step computes of its inputs.
Call = Callable[..., tf.Tensor]
# The kernels, or the scale, of a layer, and its bias; None where it has none.
Weights = tuple[Array | None, ...]

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
        constant: whether the weights of what is written out are constants, taken as they are now;
            else they are the layers' own, in which the part can be differentiated.

    Attributes:
        folded: of the graph's steps, those that have the normalisation behind them folded in.
    """

    def __init__(self, graph: Graph, first: int, last: int, fold: bool, constant: bool = False):
        self._steps = graph.steps[first:last]
        self._entering, self._leaving = graph.crossings[first], graph.crossings[last]
        self._shapes = [graph.shapes[key] for key in self._entering]
        followers = _followers(graph, first, last) if fold else {}
        self.folded = sorted(followers)
        # The normalisations that are folded into the steps before them.
        gone = {step.gives[0] for step in followers.values()}
        self._calls = [
            _identity
            if step.gives[0] in gone
            else (fold and _written_out(graph, step, followers.get(number), constant))
            or functools.partial(_as_keras, step)
            for number, step in enumerate(self._steps, start=first)
        ]

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        """Computes the part."""
        values = dict(zip(self._entering, _apart(features, self._shapes), strict=True))
        for call, step in zip(self._calls, self._steps, strict=True):
            results = keras.tree.flatten(call(*(values[key] for key in step.takes)))
            values |= zip(step.gives, results, strict=True)
        return _side_by_side([values[key] for key in self._leaving])


def folded(layer: keras.layers.Layer, normalisation: keras.layers.Layer | None) -> Weights:
    """The weights of the one linear layer that equals the two in inference mode.

    Args:
        layer: a convolution or dense layer.
        normalisation: the batch normalisation behind it; None gives the layer's own weights.

    Returns:
        Its kernels in their order, and its bias.
    """
    separable = isinstance(layer, keras.layers.SeparableConv2D)
    kernel = layer.pointwise_kernel.value if separable else layer.kernel.value
    below = (layer.depthwise_kernel.value,) if separable else ()
    bias = layer.bias.value if layer.use_bias else None
    if normalisation is None:
        return *below, kernel, bias
    scale, bias = _scale_and_bias(normalisation, bias)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        scale = tf.reshape(scale, kernel.shape[2:])  # of a channel's several results, too
    return *below, kernel * scale, bias


def _scale_and_bias(layer: keras.layers.Layer, added: tf.Tensor | None = None) -> Weights:
    """What a batch normalisation multiplies by and adds, of what something was added to before."""
    scale = tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
    if layer.scale:
        scale = layer.gamma.value * scale
    mean = layer.moving_mean.value if added is None else layer.moving_mean.value - added
    return scale, (layer.beta.value - mean * scale if layer.center else -mean * scale)


def _followers(graph: Graph, first: int, last: int) -> dict[int, Step]:
    """The normalisation that is folded into a step, by the step's number."""
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
        and len(step.takes) == 1
        and _is_of_one_type(layer)
    )


def _is_linear(step: Step, graph: Graph) -> bool:
    """Whether a step is a convolution or dense layer that is known here in all that it does."""
    layer = step.operation
    # Of a subclass it is not known what its `call` does.
    if type(layer) not in _LINEAR or len(step.takes) != 1 or not _is_of_one_type(layer):
        return False
    if isinstance(layer, keras.layers.Dense):
        return len(graph.shapes[step.takes[0]]) in (1, 3) and layer.quantization_mode is None
    return (
        layer.data_format == "channels_last"
        and getattr(layer, "groups", 1) == 1
        and layer.padding in ("same", "valid")
    )


def _is_of_one_type(layer: keras.layers.Layer) -> bool:
    """Whether a layer computes in the type of its weights: no mixed precision."""
    return layer.compute_dtype == layer.variable_dtype and not getattr(layer, "lora_enabled", False)


def _written_out(graph: Graph, step: Step, follower: Step | None, constant: bool) -> Call | None:
    """The function that a step computes, with its weights; None where Keras is to be called."""
    layer = step.operation
    if _is_linear(step, graph):
        weights = functools.partial(folded, layer, follower and follower.operation)
        function = functools.partial(_linear, layer)
    elif _is_normalisation(step, graph):
        weights, function = functools.partial(_scale_and_bias, layer), _scaled
    elif _is_layer_normalisation(step):
        weights = functools.partial(_gamma_and_beta, layer)
        function = functools.partial(_normalised, layer.epsilon)
    elif type(layer) is keras.layers.Reshape and None not in step.shapes[0]:
        return lambda features: tf.reshape(features, (-1, *step.shapes[0]))
    else:
        return None
    if constant:
        kept = tuple(None if weight is None else weight.numpy() for weight in weights())
        return lambda features: function(features, *kept)
    return lambda features: function(features, *weights())


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


def _linear(layer: keras.layers.Layer, features: tf.Tensor, *weights: Array | None) -> tf.Tensor:
    *kernels, bias = weights
    if isinstance(layer, keras.layers.Dense):
        result = _dense(features, *kernels)
    else:
        result = _convolved(layer, features, *kernels)
    # The sum's gradient is taken by all threads, that of `bias_add` by one.
    result = result if bias is None else result + bias
    return result if layer.activation is None else layer.activation(result)


def _dense(features: tf.Tensor, kernel: Array) -> tf.Tensor:
    if features.shape.rank == 2:
        return tf.matmul(features, kernel)
    if tf.is_tensor(kernel):
        return tf.tensordot(features, kernel, axes=1)
    return tf.nn.conv2d(features, kernel[np.newaxis, np.newaxis], 1, "VALID")


def _convolved(layer: keras.layers.Layer, features: tf.Tensor, *kernels: Array) -> tf.Tensor:
    padding, strides, dilations = layer.padding.upper(), layer.strides, layer.dilation_rate
    if not isinstance(layer, keras.layers.Conv2D):  # depthwise, by itself or as the first of two
        features = tf.nn.depthwise_conv2d(
            features, kernels[0], [1, *strides, 1], padding, dilations=dilations
        )
        if len(kernels) == 1:
            return features
        strides = dilations = (1, 1)
    kernel = kernels[-1]
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
        and len(step.takes) == 1
        and _is_of_one_type(layer)
    )


def _gamma_and_beta(layer: keras.layers.Layer) -> Weights:
    return (
        layer.gamma.value if layer.scale else None,
        layer.beta.value if layer.center else None,
    )


def _normalised(
    epsilon: float, features: tf.Tensor, gamma: Array | None, beta: Array | None
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
