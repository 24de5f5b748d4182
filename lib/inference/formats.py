"""Writes a trained network in other formats, and loads it from them again.

Each takes images as levels from 0 to 255, and gives the probability of each class. The names of
the classes travel along: in the outputs of a SavedModel, else as `labels.txt`, both next to the
model and inside its file, which is also a ZIP archive. There a name is a line, with a line end or
backslash in it written as in Python.
"""

import contextlib
import dataclasses
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lib.config import Config
from lib.data.decoding import decode, resize
from lib.inference.preprocessing import decoded_and_resized, resized, resized_by_matrices
from lib.inference.trained import Trained
from lib.model.graph import leaf_layers
from lib.model.interpreters import interpreter
from lib.system.runtime import quietly
from lib.training.losses import predicted_classes, probabilities

LABELS = "labels.txt"
_LEVELS = (tf.uint8, tf.int32, tf.int64, tf.float16, tf.float32, tf.float64)
_KERAS, _TFLITE = "model.keras", "model.tflite"

# What would end a line, and the backslash that says so; all else is as it is, blanks too.
_ONE_LINE = {ord(end): repr(end)[1:-1] for end in "\\\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


@dataclasses.dataclass(frozen=True)
class WayIn:
    """One way in which an exported model takes images.

    Attributes:
        name: of the signature, or of what it takes.
        prepare: makes that of an image file's bytes.
        probabilities: of the classes, float32 [classes], from what `prepare` gave.
    """

    name: str
    prepare: Callable[[bytes], Any]
    probabilities: Callable[[Any], np.ndarray]


def write_saved_model(trained: Trained, folder: Path) -> None:
    """Writes a SavedModel with the signatures `pictures` (also the default) and `encoded`.

    `pictures` takes uint8 [n, height, width, 3] of any size, `encoded` string [n], the bytes of
    files. Both return `class` string [n], `probabilities` float32 [n, classes] and `class_names`
    string [n, classes]; `encoded` also `refused` string [n], empty, or why this image was not
    read: then its class is empty too, and its probabilities are no numbers. It reads what
    `lib.data.decoding.decode` reads, but for packed BMP files, GIF files whose first frame does not
    fill them or that are turned by XMP, and EXIF of unusual kinds.

    What is loaded can also be called itself, with integers or floats from 0 to 255, or strings.
    """
    network, size = trained.network, trained.config.source_size_in_use
    names = tf.constant(trained.classes)

    @tf.function(
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)], autograph=False
    )
    def outputs(images):
        logits = network.model(network.seen(images), training=False)
        return {
            "class": tf.gather(names, predicted_classes(logits)),
            "probabilities": probabilities(logits),
            "class_names": tf.repeat(names[tf.newaxis], tf.shape(logits)[0], axis=0),
        }

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "pictures")],
        autograph=False,
    )
    def images(images):
        return outputs(resized(images, size))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "encoded")], autograph=False)
    def encoded(encoded):
        squares, refused = decoded_and_resized(encoded, size)
        answers, sound = outputs(squares), refused == ""
        return answers | {
            "class": tf.where(sound, answers["class"], ""),
            "probabilities": tf.where(sound[:, tf.newaxis], answers["probabilities"], np.nan),
            "refused": refused,
        }

    @tf.function(autograph=False)
    def call(given):
        return encoded(given) if given.dtype == tf.string else outputs(resized(given, size))

    for dtype in _LEVELS:
        call.get_concrete_function(tf.TensorSpec((None, None, None, 3), dtype))
    call.get_concrete_function(tf.TensorSpec((None,), tf.string))
    module = _module(network.model)
    module.__call__ = call
    module.serve = call  # the name that Keras looks for
    signatures = {"serving_default": images, "pictures": images, "encoded": encoded}
    tf.saved_model.save(module, str(folder), signatures)
    _write_labels(trained, folder)


def load_saved_model(folder: Path, _: Config) -> list[WayIn]:
    """Loads what `write_saved_model` wrote."""
    loaded = tf.saved_model.load(str(folder))
    images, encoded = loaded.signatures["pictures"], loaded.signatures["encoded"]
    return [
        WayIn(
            "pictures",
            _levels,
            lambda batch: images(pictures=tf.constant(batch))["probabilities"].numpy()[0],
        ),
        WayIn(
            "encoded",
            lambda data: data,
            lambda data: encoded(encoded=tf.constant([data]))["probabilities"].numpy()[0],
        ),
    ]


def write_keras(trained: Trained, folder: Path) -> None:
    """Writes `model.keras`, of Keras' own layers: [n, height, width, 3] to probabilities.

    It takes levels from 0 to 255, integers or floats. With `training=True`, as in `fit`, dropout is
    at work, and batch normalisation stays in inference mode, as in the run: its layers are frozen.
    """
    network, size = trained.network, trained.config.source_size_in_use
    images = keras.Input((None, None, 3), dtype="float32", name="pictures")
    # No layer: `keras.layers.Resizing` is in training mode unless called otherwise, and so would be
    # the layers behind it.
    scaled = keras.ops.image.resize(images, (size, size), "bilinear", antialias=True)
    logits = network.model(network.seen(keras.ops.round(scaled)), training=False)
    if logits.shape[1] == 1:
        both = [keras.ops.sigmoid(-logits), keras.ops.sigmoid(logits)]
        outputs = keras.layers.Concatenate(name="probabilities")(both)
    else:
        outputs = keras.layers.Softmax(name="probabilities")(logits)
    exported = keras.Model(images, outputs, name="thaw")
    with _frozen_normalisation(network.backbone):
        exported.save(folder / _KERAS)
    _write_labels(trained, folder, _KERAS)


@contextlib.contextmanager
def _frozen_normalisation(backbone: keras.Model) -> Iterator[None]:
    normalisation = keras.layers.BatchNormalization
    layers = [one for one in leaf_layers(backbone) if isinstance(one, normalisation)]
    before = [layer.trainable for layer in layers]
    for layer in layers:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(layers, before, strict=True):
            layer.trainable = trainable


def load_keras(folder: Path, _: Config) -> list[WayIn]:
    """Loads what `write_keras` wrote."""
    model = keras.models.load_model(folder / _KERAS)
    # Called plainly, as a person does.
    run = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    return [WayIn("pictures", _levels, lambda batch: run(batch.astype(np.float32)).numpy()[0])]


def write_tflite(
    trained: Trained, folder: Path, quantize: str, calibration: Callable[[], np.ndarray]
) -> None:
    """Writes `model.tflite` with the signatures `pictures` and `resized`, which share the weights.

    `pictures` takes uint8 [1, height, width, 3] of any size, `resized` uint8 [1, size, size, 3] of
    the run's source size, which is faster. Both return `probabilities`, float32 [1, classes]. With
    "int8" there is only the latter, as resizing in 8 bits would lose too much. Who calls it without
    a signature gives an image of any size too, and says of which by `resize_tensor_input` (int8: as
    it is).

    Args:
        trained: the run.
        folder: where to.
        quantize: "none", "float16" (weights alone) or "int8" (weights and the computation).
        calibration: gives training images, uint8 [n, size, size, 3], for int8, whose ranges are
            set by what the network makes of them.
    """
    network, size = trained.network, trained.config.source_size_in_use
    dtype = tf.float32 if quantize == "int8" else tf.uint8  # the converter makes uint8 of it

    def outputs(images):
        return {"probabilities": probabilities(network.model(network.seen(images)))}

    @tf.function(input_signature=[tf.TensorSpec((1, size, size, 3), dtype, "pictures")])
    def ready(images):
        return outputs(tf.cast(images, tf.float32))

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8, "pictures")])
    def any_size(images):
        return outputs(resized_by_matrices(images, size))

    signatures = {"resized": ready}
    if quantize != "int8":
        signatures["pictures"] = any_size
    with tempfile.TemporaryDirectory() as source, quietly():
        tf.saved_model.save(_module(network.model), source, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(source, list(signatures))
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.representative_dataset = lambda: _calibrating(calibration())
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        program = converter.convert()
    (folder / _TFLITE).write_bytes(program)
    _write_labels(trained, folder, _TFLITE)


def _calibrating(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    # With both ends of the range in the first one, a level of the input is a step of its scale.
    images = images.astype(np.float32)
    images[0, 0, :2] = [[0], [255]]
    return ([image[np.newaxis]] for image in images)


def load_tflite(folder: Path, config: Config) -> list[WayIn]:
    """Loads what `write_tflite` wrote."""
    size = config.source_size_in_use
    model = interpreter((folder / _TFLITE).read_bytes(), config.threads)
    runners = {name: model.get_signature_runner(name) for name in model.get_signature_list()}
    prepare = {
        "pictures": _levels,
        "resized": lambda data: resize(decode(data), size)[np.newaxis],
    }
    return [
        WayIn(name, prepare[name], lambda batch, run=run: run(pictures=batch)["probabilities"][0])
        for name, run in runners.items()
    ]


def _module(model: keras.Model) -> tf.Module:
    """What a SavedModel needs to know of a model: its variables."""
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    return module


def _levels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data))[np.newaxis]


def _write_labels(trained: Trained, folder: Path, model: str | None = None) -> None:
    """Writes the names of the classes, one per line, and into the model's file where it is one."""
    text = "".join(f"{name.translate(_ONE_LINE)}\n" for name in trained.classes)
    (folder / LABELS).write_bytes(text.encode())
    if model:
        with zipfile.ZipFile(folder / model, "a") as archive:
            archive.writestr(LABELS, text)
