"""Starts TensorFlow: quiet, repeatable, with a stated number of threads."""

import contextlib
import ctypes
import gc
import logging
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from lib.errors import UserError
from lib.system.progress import say

Joined = TypeVar("Joined")

_MOST_HEAPS = -8  # M_ARENA_MAX of glibc's <malloc.h>

# Beginnings of the names of environment variables that TensorFlow, Keras and oneDNN compute
# otherwise for: other kernels, other precision, XLA where there was none. (Not all of TF_, which
# Terraform has too.)
_OF_ARITHMETIC = (
    *("KERAS_", "ONEDNN_", "DNNL_", "TF_AUTO", "TF_CONV2D_", "TF_CPU_", "TF_CUDNN_"),
    *("TF_DETERMINISTIC_", "TF_DISABLE_", "TF_EAGER_", "TF_ENABLE_", "TF_FP16_", "TF_FUNCTION_"),
    *("TF_JIT", "TF_MATMUL_", "TF_MKL_", "TF_NUM_", "TF_ONEDNN_", "TF_OVERRIDE_", "TF_RUN_"),
    *("TF_SET_", "TF_SYNC_", "TF_USE_", "TF_XLA_"),
)
_SET_HERE = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}
# Those without which a GPU may not work at all: where it is, and where XLA has its compiler. They
# stay, and are recorded with the run.
_RECORDED = ("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TF_FORCE_", "TF_GPU_", "XLA_FLAGS")

PACKAGES = ("tensorflow", "ai-edge-litert", "keras", "numpy", "matplotlib", "pillow")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(threads: int, seed: int, connect: Callable[[], Joined] = lambda: None) -> Joined:
    """Imports and configures TensorFlow; to be called before anything else imports it.

    Args:
        threads: operations at a time. Each is on one thread: within an operation sums would be
            split by the number of threads, and the last bits of results depend on it.
        seed: of Keras' initializers, for a backbone without pretrained weights.
        connect: joins other processes, which TensorFlow can do only before it has computed.

    Returns:
        What `connect` does.

    Raises:
        UserError: the program lies where TensorFlow cannot compile it.
    """
    _require_utf8(Path(__file__).parent)
    _share_one_heap()
    state_surroundings()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)  # what TensorFlow's Python part logs
    with quietly(), _kept():
        import keras
        import tensorflow as tf

        from lib.system import exact_sums

        exact_sums.install()
        # What ~/.keras/keras.json would have a say in, where Keras was imported before.
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")
        tf.get_logger().setLevel("ERROR")
        try:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise UserError(
                "TensorFlow runs in this process already, with another number of threads than"
                f" {threads}: start a new one (in a notebook, restart the kernel)"
            ) from error
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
    joined = connect()
    with quietly():
        tf.config.list_logical_devices()  # complains on stderr of any driver it does not find
    return joined


def threads() -> int:
    """With how many threads TensorFlow was started."""
    import tensorflow as tf

    return tf.config.threading.get_inter_op_parallelism_threads()


def _require_utf8(program: Path) -> None:
    """XLA notes from which file a function comes, and its text must be UTF-8."""
    try:
        str(program).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"this program lies in {program}, whose name is not UTF-8, so that TensorFlow cannot"
            " compile it: move it to a folder whose name is"
        ) from None


def state_surroundings() -> None:
    """Makes the environment one in which TensorFlow and Keras are as they come.

    Variables that decide how they compute are removed with a warning; those of `_RECORDED` stay,
    since a GPU may need them. Keras is given no folder whose `keras.json` it could read. To be
    called before either is imported.
    """
    left_out = [
        name
        for name in sorted(os.environ)
        if name.startswith(_OF_ARITHMETIC) and os.environ[name] != _SET_HERE.get(name)
    ]
    for name in left_out:
        del os.environ[name]
    if left_out:
        say(f"warning: {', '.join(left_out)} ignored: a run does not depend on its environment")
    if "XLA_FLAGS" in os.environ:
        say("warning: XLA_FLAGS may change results; config.json says with which a run was made")
    os.environ.update(_SET_HERE)


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

    glibc gives each its own, up to eight per core, and what one has freed is no use to another: 80
    MB of a run. Tensors are not concerned, as TensorFlow keeps its own pool of those.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option:
        set_option(_MOST_HEAPS, 1)


def release_memory() -> None:
    """Gives memory that is free again back to the system, where the C library can be asked to.

    glibc keeps 130 MB after TensorFlow has compiled a network, and what the largest images took
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
    """What results depend on besides the configuration: machine, versions, environment, commit."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return (
        {"machine": platform.machine(), "python": platform.python_version()}
        | versions
        | {"environment": _environment(), "commit": _commit()}
    )


def _environment() -> str | None:
    """The variables of the environment that may change results; None where there are none."""
    found = sorted(item for item in os.environ.items() if item[0].startswith(_RECORDED))
    return " ".join(f"{name}={value}" for name, value in found) or None


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
