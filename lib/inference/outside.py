"""Calls an exported model in every way that a person would, knowing nothing of this project.

Run as a script of its own by `lib.inference.calls`, with TensorFlow, LiteRT and NumPy alone:

    python outside.py FORMAT EXPORT EXCHANGE

EXPORT is the folder of the model. EXCHANGE holds `given.npz` with `ready` (images of the
network's size) and `pictures` (of another), uint8 [n, height, width, 3], and `files.json`, image
files in base64. There go `answers.npz`, probabilities [n, classes] of each way of calling, and
`report.json`: what failed, and which files were refused.
"""

import base64
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter as LiteRT

DTYPES = ("uint8", "int32", "int64", "float32", "float64")


def of_keras(folder, sets, files):
    """Ways of calling a Keras model, as (name, function)."""
    model = tf.keras.models.load_model(folder / "model.keras")
    for of, batch in sets.items():
        for dtype in DTYPES:
            given = batch.astype(dtype)
            yield f"{of}: model({dtype} array)", lambda given=given: model(given)
            tensor = tf.constant(given)
            yield f"{of}: model({dtype} tensor)", lambda tensor=tensor: model(tensor)
        yield f"{of}: model, one image", lambda batch=batch: each(model, batch)
        yield f"{of}: training=False", lambda batch=batch: model(batch, training=False)
        yield f"{of}: predict", lambda batch=batch: model.predict(batch, verbose=0)
        floats = batch.astype("float32")
        yield f"{of}: predict_on_batch", lambda floats=floats: model.predict_on_batch(floats)
        yield f"{of}: tf.function", lambda floats=floats: tf.function(model)(floats)


def of_saved_model(folder, sets, files):
    """Ways of calling a SavedModel, as (name, function)."""
    loaded = tf.saved_model.load(str(folder))
    serving = loaded.signatures["serving_default"]
    images = loaded.signatures["pictures"]
    encoded = loaded.signatures["encoded"]
    layer = tf.keras.layers.TFSMLayer(str(folder))
    for of, batch in sets.items():
        for dtype in DTYPES:
            given = batch.astype(dtype)
            tensor = tf.constant(given)
            yield f"{of}: loaded({dtype} array)", lambda given=given: loaded(given)
            yield f"{of}: loaded({dtype} tensor)", lambda tensor=tensor: loaded(tensor)
            # A signature takes tensors of its own type alone, and arrays of any.
            yield f"{of}: serving_default, {dtype}", lambda given=given: serving(pictures=given)
        tensor = tf.constant(batch)
        yield f"{of}: serving_default, tensor", lambda tensor=tensor: serving(tensor)
        yield f"{of}: pictures", lambda tensor=tensor: images(pictures=tensor)
        yield f"{of}: loaded, one image", lambda batch=batch: each(loaded, batch)
        yield f"{of}: TFSMLayer", lambda batch=batch: layer(batch)
        yield f"{of}: TFSMLayer, float32", lambda batch=batch: layer(batch.astype("float32"))
    yield "files: encoded", lambda: encoded(encoded=tf.constant(files))
    yield "files: loaded(strings)", lambda: loaded(tf.constant(files))
    yield "files: encoded, one file", lambda: each(lambda one: encoded(encoded=one), files)


def of_tflite(folder, sets, files):
    """Ways of calling a TensorFlow Lite model, as (name, function)."""
    path = str(folder / "model.tflite")
    # The old name is deprecated, and in most of what is written about TensorFlow Lite.
    for kind, Interpreter in {"LiteRT": LiteRT, "tf.lite": tf.lite.Interpreter}.items():
        by_signature = Interpreter(path)
        for name in by_signature.get_signature_list():
            run = by_signature.get_signature_runner(name)
            for of, batch in sets.items():
                if name == "pictures" or of == "ready":
                    yield (
                        f"{of}: {kind}, signature {name}",
                        lambda run=run, batch=batch: each(lambda one: run(pictures=one), batch),
                    )
        by_hand = Interpreter(path)
        for of, batch in sets.items():
            if of == "ready" or -1 in by_hand.get_input_details()[0]["shape_signature"]:
                yield (
                    f"{of}: {kind}, invoke",
                    lambda by_hand=by_hand, batch=batch: each(
                        lambda one: invoke(by_hand, one), batch
                    ),
                )


def invoke(interpreter, one):
    """Puts an image into an interpreter by hand, and takes the answer out."""
    (taken,), put_out = interpreter.get_input_details(), interpreter.get_output_details()[0]
    if list(taken["shape"]) != list(one.shape):
        interpreter.resize_tensor_input(taken["index"], one.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], one.astype(taken["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(put_out["index"])


def each(call, batch):
    """Calls a model with one image after the other."""
    answers = [call(batch[i : i + 1]) for i in range(len(batch))]
    if isinstance(answers[0], dict):
        return {key: np.concatenate([one[key] for one in answers]) for key in answers[0]}
    return np.concatenate(answers)


def main(format, folder, exchange):
    """Calls the model in all ways, and writes down what it answers."""
    with np.load(exchange / "given.npz") as given:
        sets = {name: given[name] for name in ("ready", "pictures")}
    files = [base64.b64decode(file) for file in json.loads((exchange / "files.json").read_text())]
    ways = {"keras": of_keras, "saved_model": of_saved_model, "tflite": of_tflite}[format]
    answers, report = {}, {"failed": {}, "refused": {}}
    for name, call in ways(folder, sets, files):
        try:
            answer = call()
        except Exception as error:  # whatever it is, a person would meet it
            report["failed"][name] = f"{type(error).__name__}: {error}"
            continue
        if isinstance(answer, dict):
            if "refused" in answer:
                report["refused"][name] = [text.decode() for text in np.asarray(answer["refused"])]
            answer = answer["probabilities"]
        answers[name] = np.asarray(answer)
    np.savez(exchange / "answers.npz", **answers)
    (exchange / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
