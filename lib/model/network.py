"""The network: MobileNetV2 as the backbone, and a new head on it."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Network:
    """Backbone and head, and the model that they make together.

    Attributes:
        backbone: MobileNetV2 without top: [n, size, size, 3] in [-1, 1] to a feature map.
        pool: the feature map to pooled features [n, channels].
        head: the dense layer: pooled features [n, channels] to logits [n, 1] or [n, classes].
        model: the whole, for saving and for use: images [n, size, size, 3], 0 to 255, to logits.
    """

    backbone: keras.Model
    pool: keras.layers.Layer
    head: keras.layers.Dense
    model: keras.Model

    def logits(self, pooled: tf.Tensor, drop: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """The logits, float32 [n, 1] or [n, classes].

        Args:
            pooled: features, float32 [n, channels].
            drop: sets some of them to zero in training, and is the identity elsewhere.
        """
        return _logits(self.head, drop, pooled)


def _logits(head: keras.layers.Layer, drop: Callable, pooled: tf.Tensor) -> tf.Tensor:
    return head(drop(pooled))


def build_backbone(image_size: int, alpha: float) -> keras.Model:
    """The backbone without top, with random weights.

    Args:
        image_size: pixels; the images are square.
        alpha: width multiplier.
    """
    return keras.applications.MobileNetV2(
        input_shape=(image_size, image_size, 3), alpha=alpha, include_top=False, weights=None
    )


def build(backbone: keras.Model, classes: int, dropout: float, seed: int) -> Network:
    """Puts a new head on a backbone.

    The backbone's batch normalisation is in inference mode: its statistics come with the pretrained
    weights, and a few small batches would only spoil them. (`lib.model.engine` sees to that; who
    calls `model` with `training=True` overrides the `training=False` here.)

    Args:
        backbone: as `build_backbone` makes it.
        classes: two give one logit, more give one each.
        dropout: part of the pooled features dropped in training; training draws the mask itself
            (`lib.training.steps`), the layer here is for those who use the saved model.
        seed: of the head's initial weights.
    """
    head = keras.layers.Dense(
        1 if classes == 2 else classes,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="logits",
    )
    images = keras.Input(backbone.input_shape[1:], name="pictures")
    features = backbone(as_network_input(images), training=False)
    pool = keras.layers.GlobalAveragePooling2D()
    logits = _logits(head, keras.layers.Dropout(dropout), pool(features))
    return Network(backbone, pool, head, keras.Model(images, logits, name="thaw"))


def as_network_input(images):
    """Scales images from 0..255 to the [-1, 1] that MobileNetV2 was trained on."""
    return images * (1 / 127.5) - 1.0


def weights_sha256(variables: Iterable[tf.Variable | keras.Variable]) -> str:
    """One string for all weights: the SHA-256 of the variables' bytes in their order."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
