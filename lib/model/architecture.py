"""The backbone of a run as a Keras model: built by its record, read from a file, or as it was kept.

A run keeps its architecture in `backbone.json`, so that it can be opened without the file that it
was begun with, and by a version of Keras that builds another network under that name.
"""

import copy
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras

from lib.config import Config, backbone_file, setting
from lib.errors import UserError
from lib.model.backbones import BACKBONES, comes_with_weights, options_of
from lib.model.graph import functional, graph_of, leaf_layers
from lib.model.weights import keras_downloads
from lib.system.files import write_json
from lib.system.progress import Progress

_KEPT = "backbone.json"


def build_backbone(config: Config, progress: Progress) -> tuple[keras.Model, str]:
    """Builds the backbone that a configuration names.

    Weights that come with it, those of a file and Keras' own of ImageNet, are in it; others are
    for `lib.model.weights.load_pretrained`.

    Args:
        config: what the run is.
        progress: how a download is reported.

    Returns:
        The model, and the scaling of what it takes.

    Raises:
        UserError: there is no such backbone, or it cannot be used.
    """
    keras.backend.clear_session(free_memory=False)  # automatic names of layers are counted
    file = backbone_file(config.backbone)
    if file:
        return _from_file(file, config), _scaling_of_file(config)
    name, options = options_of(config)
    record, received = BACKBONES.records[name], setting("backbone", config.backbone)
    if config.scaling is not None:
        raise UserError(
            f"{setting('scaling', config.scaling)} is for a backbone of your own, as"
            f" {setting('backbone', 'FILE.keras')}; {name} has its own: {record.scaling}"
        )
    if config.weights == "own":
        raise UserError(
            f"{setting('weights', 'own')} is for a backbone of your own, as"
            f" {setting('backbone', 'FILE.keras')}; give imagenet, none, or a file"
        )
    if config.weights == "imagenet" and not record.imagenet:
        raise UserError(
            f"{received}: it comes without ImageNet weights; give {setting('weights', 'none')}, or"
            f" {setting('weights', 'FILE')}"
        )
    try:
        with keras_downloads(progress), warnings.catch_warnings():
            # MobileNets warn of sizes for which they take the weights of another one.
            warnings.simplefilter("ignore")
            model = BACKBONES[name](
                config.image_size,
                "imagenet" if comes_with_weights(config) else None,
                **options,
            )
    except ValueError as error:
        raise UserError(
            f"{received} cannot be built of images of {setting('image_size', config.image_size)}"
            f" with {setting('weights', config.weights)}: {_in_a_line(error)}"
        ) from error
    require_usable(model, received)
    return model, record.scaling


def keep(folder: Path, model: keras.Model, scaling: str) -> None:
    """Writes down in the folder of a run how its backbone is built, once."""
    path = folder / _KEPT
    if not path.exists():
        write_json(path, {"scaling": scaling, "architecture": json.loads(model.to_json())})


def open_kept(folder: Path) -> tuple[keras.Model, str] | None:
    """Builds the backbone of a run as it was kept, with random weights.

    Returns:
        The model and its scaling; None where none was kept, as by versions with one network.

    Raises:
        UserError: it cannot be built.
    """
    path = folder / _KEPT
    keras.backend.clear_session(free_memory=False)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        model = keras.models.model_from_json(json.dumps(kept["architecture"]))
        if functional(model) is None:
            raise ValueError("it describes no model")
        return model, kept["scaling"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the network in {path} cannot be built ({_in_a_line(error)}): restore the file from a"
            " copy, or, where a plugin of the run registers its layers, put that back"
        ) from error


def require_usable(model: Any, received: str) -> None:
    """Makes sure that a model can be the backbone of a network.

    Args:
        model: to be used as one.
        received: the setting that named it, for messages.

    Raises:
        UserError: it cannot; the message says why.
    """

    def require(holds: bool, what: str, expected: str) -> None:
        if not holds:
            raise UserError(f"{received} {what}; expected {expected}")

    require(
        functional(model) is not None and all(map(_has_graph, model.layers)),
        "has no graph of layers, as its class says in `call` what it computes",
        "a functional or sequential Keras model",
    )
    for tensors, name in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        require(len(tensors) == 1, f"has {len(tensors)} {name}", "one")
    (taken,), (given,) = model.inputs, model.outputs
    require(
        len(taken.shape) == 4 and taken.shape[3] == 3 and None not in taken.shape[1:],
        f"takes {_shape(taken)}",
        "square images [n, size, size, 3]",
    )
    require(taken.shape[1] == taken.shape[2], f"takes {_shape(taken)}", "square images")
    require(
        len(given.shape) in (2, 4) and None not in given.shape[1:] and 0 not in given.shape[1:],
        f"puts out {_shape(given)} for images of {taken.shape[1]} pixels",
        "a feature map [n, height, width, channels], or pooled features [n, channels]",
    )
    require(given.dtype == "float32", f"puts out numbers of type {given.dtype}", "float32")
    graph = graph_of(model)
    require(
        graph.last_map() is not None,
        "has no place where a single feature map passes",
        "a convolutional network, whose map shows where a class was seen",
    )


def _has_graph(layer: keras.layers.Layer) -> bool:
    """Whether a layer is none that consists of others without saying how."""
    return functional(layer) is not None or not isinstance(layer, keras.Model)


def _from_file(path: Path, config: Config) -> keras.Model:
    """The model in a file, for images of the size asked for.

    Raises:
        UserError: it cannot be read, or used.
    """
    received = setting("backbone", path)
    if not path.exists():
        raise UserError(f"{received}: no such file, and the run has no checkpoint yet")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise UserError(
            f"{received} is no model that Keras has saved; expected a file that"
            " `model.save('NAME.keras')` wrote"
        )
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # what is in it decides which it is
        raise UserError(
            f"{received} cannot be loaded ({_in_a_line(error)}); write a Lambda as a layer of its"
            " own, and register layers of your own by keras.saving.register_keras_serializable, in"
            f" a file that is given as {setting('plugin')}"
        ) from error
    if functional(model) is not None and len(model.inputs) == 1:
        model = _of_size(model, config.image_size, received)
    require_usable(model, received)
    if config.weights == "none":
        model = keras.models.clone_model(model)
    elif config.weights in ("imagenet", "drawn"):
        raise UserError(
            f"{setting('weights', config.weights)}: these are not of {path}; give"
            f" {setting('weights', 'own')} (what is in it), none, or a file"
        )
    return model


def _of_size(model: keras.Model, size: int, received: str) -> keras.Model:
    """The same model for images of a size, with the same weights.

    Raises:
        UserError: it is made for another size alone.
    """
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[1:3] == (size, size):
        return model
    settings = copy.deepcopy(model.get_config())
    _resize_inputs(settings, list(shape), [shape[0], size, size, shape[3]])
    try:
        resized = type(model).from_config(settings)
        resized.set_weights(model.get_weights())
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{received} is made for images of {shape[1]} pixels ({_in_a_line(error)}); give"
            f" {setting('image_size', shape[1])}"
        ) from error
    return resized


def _resize_inputs(settings: Any, before: list, now: list) -> None:
    """Gives the inputs in the configuration of a model, and of models in it, another shape."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in ("batch_shape", "build_input_shape", "input_shape") and value is not None:
                if list(value) == before:
                    settings[key] = now
            else:
                _resize_inputs(value, before, now)
    elif isinstance(settings, list | tuple):
        for value in settings:
            _resize_inputs(value, before, now)


def _scaling_of_file(config: Config) -> str:
    if config.scaling is None:
        raise UserError(
            f"{setting('backbone', config.backbone)} does not say what it takes; give"
            f" {setting('scaling', 'none')} (levels from 0 to 255, as where the model scales them"
            " itself), tf (-1 to 1), torch, or caffe"
        )
    return config.scaling


def refresh(model: keras.Model) -> None:
    """Makes a model compute with the weights that it was given by something else than Keras.

    `Normalization` keeps what it computes of its mean and variance.
    """
    for layer in leaf_layers(model):
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.finalize_state()


def _shape(tensor: Any) -> str:
    return f"[n, {', '.join('?' if side is None else str(side) for side in tensor.shape[1:])}]"


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:300]
