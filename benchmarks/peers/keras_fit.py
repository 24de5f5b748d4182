"""The recipe with Keras' `fit`, as the well-known tutorial writes it; prints one line of JSON.

Data pipeline, augmentation, model and rates are the tutorial's; only the split of validation and
test images is given, and the network may be another one of `keras.applications`.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import tensorflow as tf

from lib.model.backbones import BACKBONES

BATCH_SIZE = 32
THAWED = 0.35  # of the layers: of MobileNetV2 from layer 100 on


def images(folder: str, size: int) -> tf.data.Dataset:
    """Batches of a split, reshuffled and decoded again in each epoch, ahead of their use."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=BATCH_SIZE, verbose=False
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


class Rate(keras.callbacks.Callback):
    """Images per second in the last epoch, its first batch aside: there TensorFlow compiles."""

    def on_epoch_begin(self, epoch, logs=None):
        """Begins anew."""
        self.ended = []

    def on_train_batch_end(self, batch, logs=None):
        """Notes when."""
        self.ended.append(time.monotonic())

    def of(self, examples: int) -> float:
        """The rate over an epoch of so many."""
        return (examples - BATCH_SIZE) / (self.ended[-1] - self.ended[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", required=True, help="a file, or none")
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--head_epochs", type=int, required=True)
    parser.add_argument("--finetune_epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    keras.utils.set_random_seed(0)

    size = arguments.image_size
    train = images(f"{arguments.data}/train", size)
    validation = images(f"{arguments.data}/validation", size)
    test = images(f"{arguments.data}/test", size)
    examples = sum(file.is_file() for file in Path(arguments.data, "train").rglob("*"))

    options = {} if arguments.alpha == 1 else {"alpha": arguments.alpha}
    backbone = BACKBONES[arguments.backbone](size, None, **options)
    if arguments.weights != "none":
        backbone.load_weights(arguments.weights)
    backbone.trainable = False
    scaling = BACKBONES.records[arguments.backbone].scaling
    inputs = keras.Input((size, size, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.2)(x)
    if scaling != "none":
        x = keras.applications.imagenet_utils.preprocess_input(x, mode=scaling)
    x = backbone(x, training=False)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))

    def compile_with(optimizer: keras.optimizers.Optimizer) -> None:
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.BinaryCrossentropy(),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.5, name="accuracy")],
        )

    seconds, rates, rate = {}, {}, Rate()
    began = time.monotonic()
    compile_with(keras.optimizers.Adam(1e-4))
    model.evaluate(validation, verbose=0)
    model.fit(
        train,
        epochs=arguments.head_epochs,
        validation_data=validation,
        callbacks=[rate],
        verbose=0,
    )
    seconds["head"], rates["head"] = time.monotonic() - began, rate.of(examples)

    began = time.monotonic()
    backbone.trainable = True
    for layer in backbone.layers[: -round(THAWED * len(backbone.layers))]:
        layer.trainable = False
    compile_with(keras.optimizers.RMSprop(1e-5))
    history = model.fit(
        train,
        epochs=arguments.head_epochs + arguments.finetune_epochs,
        initial_epoch=arguments.head_epochs,
        validation_data=validation,
        callbacks=[rate],
        verbose=0,
    ).history
    seconds["finetune"], rates["finetune"] = time.monotonic() - began, rate.of(examples)

    _, test_accuracy = model.evaluate(test, verbose=0)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "images_per_second": rates,
                "validation_accuracy": history["val_accuracy"][-1],
                "test_accuracy": test_accuracy,
            }
        )
    )


if __name__ == "__main__":
    main()
