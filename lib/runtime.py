"""How TensorFlow is started: quiet, repeatable, with a stated number of threads."""

import contextlib
import ctypes
import gc
import logging
import os
import platform
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_MOST_HEAPS = -8  # M_ARENA_MAX of glibc's <malloc.h>

PACKAGES = ("tensorflow", "ai-edge-litert", "keras", "numpy", "matplotlib", "pillow")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(threads: int, seed: int) -> None:
    """Imports and configures TensorFlow; to be called before anything else imports it.

    Args:
        threads: threads inside an operation, and operations at a time. Sums are split by it, so
            results depend on it in their last bits.
        seed: of Keras' initializers, for a backbone without pretrained weights.
    """
    _share_one_heap()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)  # what TensorFlow's Python part tells
    # The interpreter's own announcement that it will move to another package; we pin TensorFlow.
    warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")
    with quietly(), _kept():
        import keras
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        tf.config.list_logical_devices()  # complains on stderr of any driver it does not find


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Spares what is made here from garbage collection: it stays, and looking at it takes time.

    A fifth of the import of TensorFlow, and a sixth of a second in each collection thereafter.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Sends what native code prints on stderr to nowhere: it knows no log level we could set.

    Exceptions are raised as always.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _share_one_heap() -> None:
    """Lets all threads allocate from one heap, where the C library can be asked to.

    glibc gives each its own, up to eight a core, and what one has freed is no use to another: 80 MB
    of a run. Tensors are not concerned, as TensorFlow keeps its own pool of those.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option:
        set_option(_MOST_HEAPS, 1)


def release_memory() -> None:
    """Gives memory that is free again back to the system, where the C library can be asked to.

    glibc keeps 130 MB after TensorFlow has compiled a network, and what the largest pictures took
    after a data set was decoded. Graphs and figures refer to themselves, so that theirs is not free
    until they are collected.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def peak_memory_mb(usage: resource.struct_rusage | None = None) -> float:
    """The largest resident set of this process so far, or of that whose usage is given, in MiB."""
    usage = usage or resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def provenance() -> dict[str, str | None]:
    """What results depend on beside the configuration: machine type, versions, the commit."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return (
        {"machine": platform.machine(), "python": platform.python_version()}
        | versions
        | {"commit": _commit()}
    )


def _commit() -> str | None:
    """The commit of this checkout; None where this is none, or git is not installed."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
