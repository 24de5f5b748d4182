"""Batch normalisation in inference mode, folded into the convolution before it.

With fixed statistics, batch normalisation is a linear map a channel, so that
`bn(conv(x, k)) = conv(x, k * s) + (beta - mean * s)` where `s = gamma / sqrt(variance + epsilon)`
(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018, section 3.2). The folded form saves two passes over every feature map and is
differentiable in kernel, gamma and beta, so it serves training as well as inference.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

Convolution = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
Normalisation = keras.layers.BatchNormalization
# A convolution and the normalisation after it, if any -> kernel and bias.
Weights = Callable[[Convolution, Normalisation | None], tuple[tf.Tensor, tf.Tensor | None]]


def folded(
    convolution: Convolution, normalisation: Normalisation | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Kernel and bias of the one convolution that equals the two layers in inference mode."""
    kernel = convolution.kernel.value
    if normalisation is None:
        return kernel, None
    scale, bias = _scale_and_bias(normalisation)
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    return kernel * (scale[:, tf.newaxis] if depthwise else scale), bias


def followers(layers: Sequence[keras.layers.Layer]) -> dict[str, Normalisation]:
    """The normalisation after each convolution of `layers`, where it is among them too."""
    names = {layer.name for layer in layers}
    pairs = ((sources(layer)[0], layer) for layer in layers if isinstance(layer, Normalisation))
    return {source: layer for source, layer in pairs if source in names}


def evaluate(
    layers: Sequence[keras.layers.Layer], features: tf.Tensor, weights: Weights = folded
) -> tf.Tensor:
    """Computes layers of MobileNetV2 with their batch normalisation folded.

    Args:
        layers: a part of the network that one tensor enters and one leaves, in its order; none
            gives the features back.
        features: what enters, [n, height, width, channels].
        weights: gives kernel and bias of a convolution.

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
            result = _convolved(arguments[0], layer, *weights(layer, normalisation.get(layer.name)))
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
    features: tf.Tensor, layer: Convolution, kernel: tf.Tensor, bias: tf.Tensor | None
) -> tf.Tensor:
    padding = layer.padding.upper()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        features = tf.nn.depthwise_conv2d(features, kernel, [1, *layer.strides, 1], padding)
    elif layer.kernel_size == (1, 1):  # a product of matrices, whose gradients are faster
        features = tf.tensordot(features, kernel[0, 0], axes=1)
    else:
        features = tf.nn.conv2d(features, kernel, layer.strides, padding)
    return features if bias is None else tf.nn.bias_add(features, bias)


def _scale_and_bias(normalisation: Normalisation) -> tuple[tf.Tensor, tf.Tensor]:
    scale = normalisation.gamma.value * tf.math.rsqrt(
        normalisation.moving_variance.value + normalisation.epsilon
    )
    return scale, normalisation.beta.value - normalisation.moving_mean.value * scale
