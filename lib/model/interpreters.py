"""The fastest executor that TensorFlow has for a frozen network on a processor."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import tensorflow as tf

from lib.runtime import quietly, release_memory

_TOGETHER = 8  # pictures whose narrow feature maps are computed at once


def interpreted(
    begun: tf.types.experimental.ConcreteFunction,
    ended: tf.types.experimental.ConcreteFunction,
    threads: int,
) -> Callable[[np.ndarray | tf.Tensor], tf.Tensor]:
    """Graphs without variables, run by TensorFlow Lite's XNNPACK, which is faster than TensorFlow.

    Wide feature maps are computed picture by picture, as they then stay in the processor's cache;
    narrow ones of some pictures at once, as there the weights are larger than the maps. Each group
    is on one thread, so that no thread waits for another within a layer. What comes out for a
    picture depends on it alone.

    Args:
        begun: a picture [1, ...] to its feature map.
        ended: such feature maps [n, ...] to what the prefix puts out.
        threads: processor threads.
    """
    idle: SimpleQueue[list[tf.lite.Interpreter]] = SimpleQueue()
    with quietly():
        programs = [
            tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
            for graph in (begun, ended)
        ]
        for _ in range(threads):
            idle.put([_interpreter(program) for program in programs])
    release_memory()
    workers = ThreadPoolExecutor(threads, "interpreter")

    def compute(pictures: np.ndarray) -> np.ndarray:
        both = wide, narrow = idle.get()  # never waits: there are two for each worker
        try:
            maps = [_run(wide, picture[np.newaxis]) for picture in pictures]
            return _run(narrow, np.concatenate(maps))
        finally:
            idle.put(both)

    def prefix(pictures: np.ndarray | tf.Tensor) -> tf.Tensor:
        pictures = np.asarray(pictures)
        groups = [pictures[at : at + _TOGETHER] for at in range(0, len(pictures), _TOGETHER)]
        return tf.constant(np.concatenate(list(workers.map(compute, groups))))

    return prefix


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
