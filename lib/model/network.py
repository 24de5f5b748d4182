"""The network: a backbone, and a new head on it."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from lib.windows import middle

_MEAN = np.array([0.485, 0.456, 0.406])
_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


@dataclasses.dataclass(frozen=True)
class Network:
    """Backbone and head, and the model that they make together.

    Attributes:
        backbone: without top: images [n, size, size, 3], scaled, to a feature map, or to pooled
            features.
        pool: what the backbone puts out to pooled features [n, channels].
        scaling: what the backbone takes, see `scaled`.
        head: the dense layer: pooled features [n, channels] to logits [n, 1] or [n, classes].
        model: the whole, for saving and for use: images [n, size, size, 3], 0 to 255, to logits.
    """

    backbone: keras.Model
    pool: Callable[[tf.Tensor], tf.Tensor]
    head: keras.layers.Dense
    model: keras.Model
    scaling: str

    @property
    def image_size(self) -> int:
        """The side of the images, in pixels."""
        return self.backbone.input_shape[1]

    def seen(self, images: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """The middle of images that are larger than those that the backbone takes."""
        return middle(images, self.image_size)

    def as_input(self, images: tf.Tensor) -> tf.Tensor:
        """Images with levels from 0 to 255 as the backbone takes them."""
        return scaled(images, self.scaling)

    def logits(self, pooled: tf.Tensor, drop: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """The logits, float32 [n, 1] or [n, classes].

        Args:
            pooled: features, float32 [n, channels].
            drop: sets some of them to zero in training, and is the identity elsewhere.
        """
        return _logits(self.head, drop, pooled)


def _logits(head: keras.layers.Layer, drop: Callable, pooled: tf.Tensor) -> tf.Tensor:
    return head(drop(pooled))


def build(
    backbone: keras.Model,
    classes: int,
    dropout: float,
    seed: int,
    scaling: str = "tf",
    head_init: str = "glorot_uniform",
) -> Network:
    """Puts a new head on a backbone.

    The backbone's batch normalisation is in inference mode: its statistics come with the pretrained
    weights, and a few small batches would only spoil them. (`lib.model.engine` sees to that; who
    calls `model` with `training=True` overrides the `training=False` here.)

    Args:
        backbone: as `lib.model.architecture` makes it.
        classes: two give one logit, more give one each.
        dropout: part of the pooled features dropped in training; training draws the mask itself
            (`lib.training.steps`), the layer here is for those who use the saved model.
        seed: of the head's initial weights.
        scaling: what the backbone takes.
        head_init: how these are made: "glorot_uniform", or "zeros".
    """
    random = keras.initializers.GlorotUniform(seed)
    head = keras.layers.Dense(
        1 if classes == 2 else classes,
        kernel_initializer=random if head_init == "glorot_uniform" else head_init,
        name="logits",
    )
    images = keras.Input(backbone.input_shape[1:], name="pictures")
    features = backbone(scaled(images, scaling), training=False)
    is_map = len(backbone.output_shape) == 4
    pool = keras.layers.GlobalAveragePooling2D() if is_map else _as_it_is
    logits = _logits(head, keras.layers.Dropout(dropout), pool(features))
    return Network(backbone, pool, head, keras.Model(images, logits, name="thaw"), scaling)


def _as_it_is(features: tf.Tensor) -> tf.Tensor:
    return features


def scaled(images, scaling: str):
    """Images with levels from 0 to 255 as a backbone takes them.

    Args:
        images: [n, size, size, 3], red, green and blue.
        scaling: "none": as they are; "tf": to -1 to 1; "torch": less ImageNet's mean, divided by
            its deviation; "caffe": blue, green and red, less ImageNet's mean. The numbers are
            those of `keras.applications.imagenet_utils.preprocess_input`.
    """
    if scaling == "tf":
        return images * (1 / 127.5) - 1.0
    if scaling == "torch":
        deviation = 255 * np.array([0.229, 0.224, 0.225])
        return images * (1 / deviation).astype(np.float32) - (255 * _MEAN / deviation).astype(
            np.float32
        )
    if scaling == "caffe":
        channels = [images[..., channel : channel + 1] for channel in (2, 1, 0)]
        return keras.ops.concatenate(channels, axis=-1) - _MEAN_BGR
    return images


def weights_sha256(variables: Iterable[tf.Variable | keras.Variable]) -> str:
    """One string for all weights: the SHA-256 of the variables' bytes in their order."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
