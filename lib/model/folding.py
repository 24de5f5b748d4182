"""Batch normalisation in inference mode, folded into the convolution before it.

With fixed statistics, batch normalisation is a linear map per channel, so that
`bn(conv(x, k)) = conv(x, k * s) + (beta - mean * s)` where `s = gamma / sqrt(variance + epsilon)`
(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018, section 3.2). The folded form saves two passes over every feature map and is
differentiable in kernel, gamma and beta, so it serves training as well as inference.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

Convolution = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
Normalisation = keras.layers.BatchNormalization
# By the convolution's name: kernel and bias, folded.
Constants = Mapping[str, tuple[np.ndarray, np.ndarray | None]]


def folded(
    convolution: Convolution, normalisation: Normalisation | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Kernel and bias of the one convolution that equals the two layers in inference mode."""
    kernel = convolution.kernel.value
    if normalisation is None:
        return kernel, None
    scale = normalisation.gamma.value * tf.math.rsqrt(
        normalisation.moving_variance.value + normalisation.epsilon
    )
    bias = normalisation.beta.value - normalisation.moving_mean.value * scale
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    return kernel * (scale[:, tf.newaxis] if depthwise else scale), bias


def followers(layers: Sequence[keras.layers.Layer]) -> dict[str, Normalisation]:
    """The normalisation after each convolution of `layers`, where it is among them too."""
    names = {layer.name for layer in layers}
    pairs = ((sources(layer)[0], layer) for layer in layers if isinstance(layer, Normalisation))
    return {source: layer for source, layer in pairs if source in names}


def constants(layers: Sequence[keras.layers.Layer]) -> Constants:
    """What the convolutions of `layers` are when folded, taken as it is now."""
    normalisation = followers(layers)
    return {
        layer.name: tuple(
            None if weight is None else weight.numpy()
            for weight in folded(layer, normalisation.get(layer.name))
        )
        for layer in layers
        if isinstance(layer, Convolution)
    }


def evaluate(
    layers: Sequence[keras.layers.Layer], features: tf.Tensor, weights: Constants | None = None
) -> tf.Tensor:
    """Computes layers of MobileNetV2 with their batch normalisation folded.

    Args:
        layers: a part of the network that one tensor enters and one leaves, in its order; none
            gives the features back.
        features: what enters, [n, height, width, channels].
        weights: of the convolutions. None: the layers' own, in which the result can then be
            differentiated.

    Returns:
        What the last of the layers puts out.
    """
    if not layers:
        return features
    values = {sources(layers[0])[0]: features}
    normalisation = followers(layers)
    folded_away = {layer.name for layer in normalisation.values()}
    for layer in layers:
        arguments = [values[name] for name in sources(layer)]
        if isinstance(layer, Convolution):
            follower = normalisation.get(layer.name)
            kernel, bias = folded(layer, follower) if weights is None else weights[layer.name]
            result = _convolved(arguments[0], layer, kernel, bias)
        elif layer.name in folded_away:
            result = arguments[0]
        else:  # activations, additions, padding: as Keras has them
            result = layer(arguments[0] if len(arguments) == 1 else arguments)
        values[layer.name] = result
    return result


def sources(layer: keras.layers.Layer) -> list[str]:
    """The names of the layers whose outputs a layer takes in."""
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def _convolved(
    features: tf.Tensor,
    layer: Convolution,
    kernel: tf.Tensor | np.ndarray,
    bias: tf.Tensor | np.ndarray | None,
) -> tf.Tensor:
    padding = layer.padding.upper()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        features = tf.nn.depthwise_conv2d(features, kernel, [1, *layer.strides, 1], padding)
    elif layer.kernel_size == (1, 1) and tf.is_tensor(kernel):
        # A product of matrices has the faster gradients; constants need none.
        features = tf.tensordot(features, tf.squeeze(kernel, [0, 1]), axes=1)
    else:
        features = tf.nn.conv2d(features, kernel, layer.strides, padding)
    # The sum's gradient is taken by all threads, that of `bias_add` by one.
    return features if bias is None else features + bias
