"""LiteRT, the successor of TensorFlow Lite: the fastest executor of a frozen network on a CPU."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from lib.system.runtime import quietly

TOGETHER = 8  # images at most whose narrow feature maps are computed at once


class Unsuitable(Exception):
    """Why a network cannot be run here, in a few words."""


def converted(graph: tf.types.experimental.ConcreteFunction) -> bytes:
    """A graph as a program for LiteRT, its constants within.

    Raises:
        Unsuitable: there is an operation in it that LiteRT does not have.
    """
    with _unsuitable():
        return tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()


def interpreted(
    programs: Sequence[bytes], threads: int, together: int = TOGETHER
) -> Callable[[np.ndarray | tf.Tensor], tf.Tensor]:
    """Programs in a row, run by LiteRT's XNNPACK, which is faster than TensorFlow.

    Wide feature maps are computed image by image, as they then stay in the processor's cache;
    narrow ones of some images at once, as there the weights are larger than the maps. Each group
    of images is on one thread, so that no thread waits for another within a layer. What comes out
    for an image depends on it alone.

    Args:
        programs: the first one takes an image [1, ...] to its wide feature map, the others such
            maps [n, ...] to features.
        threads: processor threads.
        together: how many images at most go through the others at once.

    Returns:
        Images [n, ...] to features; to be called by any number of threads at once.

    Raises:
        Unsuitable: LiteRT cannot run them.
    """
    idle: SimpleQueue[list[Interpreter]] = SimpleQueue()
    with _unsuitable():
        rows = [[interpreter(program, threads=1) for program in programs] for _ in range(threads)]
    for row in rows:
        idle.put(row)
    # They keep the process's priority: on a busy machine a lower one would leave them almost no
    # time, and training waits for them.
    workers = ThreadPoolExecutor(threads, "interpreter")

    def compute(images: np.ndarray) -> np.ndarray:
        row = first, *others = idle.get()  # never waits: there is one for each worker
        try:
            maps = np.concatenate([_run(first, image[np.newaxis]) for image in images])
            return functools.reduce(lambda maps, program: _run(program, maps), others, maps)
        finally:
            idle.put(row)

    def features(images: np.ndarray | tf.Tensor) -> tf.Tensor:
        images = np.asarray(images)
        size = min(together, max(1, len(images) // threads))  # something for each thread
        groups = [images[start : start + size] for start in range(0, len(images), size)]
        return tf.constant(np.concatenate(list(workers.map(compute, groups))))

    return features


def interpreter(program: bytes, threads: int) -> Interpreter:
    """Makes the interpreter of a program that `tf.lite.TFLiteConverter` wrote.

    Args:
        program: the content of a `.tflite` file.
        threads: processor threads of an operation.

    Returns:
        The interpreter, its tensors allocated.
    """
    made = Interpreter(model_content=program, num_threads=threads)
    made.allocate_tensors()
    return made


@contextlib.contextmanager
def _unsuitable() -> Iterator[None]:
    """Says of what goes wrong here that the network is unsuitable."""
    with quietly():
        try:
            yield
        # The converter raises whatever its parts do, of which not all have a type of their own.
        except Exception as error:
            why = " ".join(str(error).split())[:200]
            raise Unsuitable(f"{type(error).__name__}: {why}") from error


def _run(program: Interpreter, features: np.ndarray) -> np.ndarray:
    (source,), (target,) = program.get_input_details(), program.get_output_details()
    if len(features) != source["shape"][0]:
        program.resize_tensor_input(source["index"], features.shape)
        program.allocate_tensors()
    program.set_tensor(source["index"], np.asarray(features, np.float32))
    program.invoke()
    return program.get_tensor(target["index"])
