"""Grad-CAM: where in an image the network saw the class.

Grad-CAM weighs the channels of the last feature map by the mean gradient of a class's score over
their places (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017). Here the score is linear in the pooled features, so that this gradient is the
head's own kernel, up to a factor: no tape is needed, and the map is exact.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lib.model.network import Network, as_network_input

_TOGETHER = 4  # images at once, of which each takes 20 MB on its way

GradCam = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_gradcam(network: Network) -> GradCam:
    """Builds the function that shows where a class was seen.

    Args:
        network: with the weights to explain, as they are at each call.

    Returns:
        A function of images, uint8 or float32 [n, size, size, 3], 0 to 255, and of the classes to
        explain, int [n]. It returns heat, float32 [n, height, width] of the last feature map: 1 at
        the place that speaks most for the class, 0 where nothing does.
    """
    shape = network.backbone.input_shape[1:]

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32)],
        autograph=False,
    )
    def heat(images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        features = network.backbone(as_network_input(images), training=False)
        kernel = network.head.kernel.value
        if kernel.shape[1] == 1:  # the one logit speaks for class 1, and against class 0
            kernel = tf.concat([-kernel, kernel], axis=1)
        weights = tf.gather(kernel, classes, axis=1)
        evidence = tf.nn.relu(tf.einsum("nhwc,cn->nhw", features, weights))
        return tf.math.divide_no_nan(evidence, tf.reduce_max(evidence, axis=(1, 2), keepdims=True))

    def explain(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        found = np.zeros((len(images), *network.backbone.output_shape[1:3]), np.float32)
        for start in range(0, len(images), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            found[part] = heat(tf.cast(images[part], tf.float32), tf.cast(classes[part], tf.int32))
        return found

    return explain
