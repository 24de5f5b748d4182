"""Makes the embedded weights again: a small MobileNetV2 that learns to name drawn things.

    python -m benchmarks.pretrain_drawn

The task is not the one the weights are used for: twelve kinds of animals and things, among them
no cat and no dog (`lib/data/drawn/others.py`). Only the backbone is kept. About ten minutes on two
cores.
"""

import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from lib.data.augmentation import Augmentation
from lib.data.drawn.dataset import jpeg_images
from lib.data.drawn.others import OTHERS
from lib.model.weights import EMBEDDED

CLASSES = sorted(OTHERS)
IMAGE_SIZE = 96
ALPHA = 0.35
IMAGES_PER_CLASS = 500
HELD_OUT_PER_CLASS = 20
EPOCHS = 14
BATCH_SIZE = 48
LEARNING_RATE = 3e-3
AUGMENT = "flip|rotate(0.1)"


def draw(numbers: range) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws every class once per number; returns uint8 images (n, 96, 96, 3) and labels."""
    keys = [(subject, f"pretraining/{number}") for number in numbers for subject in CLASSES]
    images = [_decode(jpeg) for jpeg in jpeg_images(keys)]
    return tf.stack(images), tf.constant([CLASSES.index(subject) for subject, _ in keys])


def _decode(jpeg: bytes) -> tf.Tensor:
    image = tf.image.resize(tf.io.decode_jpeg(jpeg, channels=3), (IMAGE_SIZE, IMAGE_SIZE))
    return tf.cast(tf.round(image), tf.uint8)


def build_backbone() -> keras.Model:
    """Returns the untrained backbone, its moving averages short enough for a short training."""
    backbone = keras.applications.MobileNetV2(
        input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), alpha=ALPHA, include_top=False, weights=None
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.98
    return backbone


def main() -> None:
    keras.utils.set_random_seed(0)
    backbone = build_backbone()
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(len(CLASSES)),
        ]
    )
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)

    start = time.monotonic()
    images, labels = draw(range(IMAGES_PER_CLASS))
    held_out, held_out_labels = draw(range(IMAGES_PER_CLASS, IMAGES_PER_CLASS + HELD_OUT_PER_CLASS))
    print(f"{len(labels)} images of {len(CLASSES)} classes in {time.monotonic() - start:.0f} s")

    steps_per_epoch = len(labels) // BATCH_SIZE
    steps = EPOCHS * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=steps_per_epoch
    )
    optimizer = keras.optimizers.Adam(schedule)
    model.build((None, IMAGE_SIZE, IMAGE_SIZE, 3))
    optimizer.build(model.trainable_variables)

    augmentation, targets = Augmentation(AUGMENT, seed=0), tf.one_hot(labels, len(CLASSES))

    @tf.function
    def train_step(indices: tf.Tensor) -> tf.Tensor:
        chosen = tf.gather(images, indices), tf.gather(targets, indices)
        x, y = augmentation(*chosen, optimizer.iterations)
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    @tf.function
    def accuracy(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        predicted = tf.argmax(model(tf.cast(x, tf.float32), training=False), axis=1)
        return tf.reduce_mean(tf.cast(predicted == tf.cast(y, tf.int64), tf.float32))

    for epoch in range(EPOCHS):
        order = tf.random.shuffle(tf.range(len(labels)))
        losses = [
            train_step(order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]) for i in range(steps_per_epoch)
        ]
        print(
            f"epoch {epoch + 1}: loss {math.fsum(map(float, losses)) / steps_per_epoch:.3f}, "
            f"held-out accuracy {accuracy(held_out, held_out_labels):.3f}, "
            f"{time.monotonic() - start:.0f} s",
            flush=True,
        )
    EMBEDDED.parent.mkdir(exist_ok=True)
    backbone.save_weights(EMBEDDED)


if __name__ == "__main__":
    main()
