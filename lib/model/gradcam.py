"""Grad-CAM: where in an image the network saw the class.

Grad-CAM weighs the channels of the last feature map by the mean gradient of a class's score over
their places (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017).
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from lib.model.folding import Part
from lib.model.graph import graph_of
from lib.model.network import Network

_TOGETHER = 4  # images at once, of which each takes 20 MB on its way

GradCam = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_gradcam(network: Network) -> GradCam:
    """Builds the function that shows where a class was seen.

    Args:
        network: with the weights to explain, as they are at each call.

    Returns:
        A function of images, uint8 or float32 [n, size, size, 3], 0 to 255, and of the classes to
        explain, int [n]. It returns heat, float32 [n, height, width]: 1 at the place that speaks
        most for the class, 0 where nothing does. Its places are those of the last feature map; of
        images of which the network sees the middle, their pixels.
    """
    shape = network.backbone.input_shape[1:]
    graph = graph_of(network.backbone)
    last_map = graph.last_map()
    below = Part(graph, 0, last_map, fold=False)
    above = Part(graph, last_map, len(graph.steps), fold=False)
    (key,) = graph.crossings[last_map]

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None,), tf.int32)],
        autograph=False,
    )
    def heat(images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        features = below(network.as_input(images))
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = network.logits(network.pool(above(features)), drop=tf.identity)
            if logits.shape[1] == 1:  # the one logit speaks for class 1, and against class 0
                logits = tf.concat([-logits, logits], axis=1)
            scores = tf.gather(logits, classes, axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(scores, features), axis=(1, 2))
        evidence = tf.nn.relu(tf.einsum("nhwc,nc->nhw", features, weights))
        return tf.math.divide_no_nan(evidence, tf.reduce_max(evidence, axis=(1, 2), keepdims=True))

    def explain(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        found = np.zeros((len(images), *graph.shapes[key][:2]), np.float32)
        seen = network.seen(images)
        for start in range(0, len(images), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            found[part] = heat(tf.cast(seen[part], tf.float32), tf.cast(classes[part], tf.int32))
        return found if seen.shape == images.shape else _widened(found, seen.shape, images.shape)

    return explain


def _widened(heat: np.ndarray, seen: Sequence[int], images: Sequence[int]) -> np.ndarray:
    """Heat of the middle of images as heat of each pixel, none around it.

    Args:
        heat: float32 [n, h, w].
        seen: the shape of the middles.
        images: the shape of the images.
    """
    wide = tf.image.resize(heat[..., np.newaxis], seen[1:3], tf.image.ResizeMethod.BICUBIC)
    margins = [(whole - part) // 2 for whole, part in zip(images[1:3], seen[1:3], strict=True)]
    # Bicubic overshoots.
    return np.pad(np.clip(wide[..., 0], 0, 1), [(0, 0), *((each, each) for each in margins)])
