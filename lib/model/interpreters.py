"""The fastest executor that TensorFlow has for a frozen network on a processor."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import tensorflow as tf

from lib.runtime import quietly, release_memory

_TOGETHER = 8  # pictures at most whose narrow feature maps are computed at once


def interpreted(
    wide: tf.types.experimental.ConcreteFunction,
    narrow: tf.types.experimental.ConcreteFunction,
    threads: int,
    give_way: bool,
) -> Callable[[np.ndarray | tf.Tensor], tf.Tensor]:
    """Two graphs in a row, run by TensorFlow Lite's XNNPACK, which is faster than TensorFlow.

    Wide feature maps are computed picture by picture, as they then stay in the processor's cache;
    narrow ones of some pictures at once, as there the weights are larger than the maps. Each group
    of pictures is on one thread, so that no thread waits for another within a layer. What comes out
    for a picture depends on it alone.

    Args:
        wide: a picture [1, ...] to its feature map.
        narrow: such feature maps [n, ...] to features.
        threads: processor threads.
        give_way: whether other threads of this machine go first, where the system knows of that.

    Returns:
        Pictures [n, ...] to features; to be called by as many threads at once as like.
    """
    idle: SimpleQueue[list[tf.lite.Interpreter]] = SimpleQueue()
    with quietly():
        programs = [
            tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
            for graph in (wide, narrow)
        ]
        for _ in range(threads):
            idle.put([_interpreter(program) for program in programs])
    release_memory()
    workers = ThreadPoolExecutor(threads, "interpreter", _step_back if give_way else None)

    def compute(pictures: np.ndarray) -> np.ndarray:
        pair = first, second = idle.get()  # never waits: there is a pair for each worker
        try:
            maps = [_run(first, picture[np.newaxis]) for picture in pictures]
            return _run(second, np.concatenate(maps))
        finally:
            idle.put(pair)

    def features(pictures: np.ndarray | tf.Tensor) -> tf.Tensor:
        pictures = np.asarray(pictures)
        size = min(_TOGETHER, max(1, len(pictures) // threads))  # something for each thread
        groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
        return tf.constant(np.concatenate(list(workers.map(compute, groups))))

    return features


def _step_back() -> None:
    """Gives the calling thread the lowest priority."""
    if sys.platform == "linux":  # elsewhere, it is not threads that have one
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _interpreter(program: bytes) -> tf.lite.Interpreter:
    interpreter = tf.lite.Interpreter(model_content=program, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: tf.lite.Interpreter, features: np.ndarray) -> np.ndarray:
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    if len(features) != source["shape"][0]:
        interpreter.resize_tensor_input(source["index"], features.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], np.asarray(features, np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])
