import ctypes
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from lib.system import runtime


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= runtime.cores() <= os.cpu_count()


def test_results_are_recorded_with_machine_versions_and_commit():
    found = runtime.provenance()
    assert {"machine", "python", "tensorflow", "keras", "numpy", "pillow"} <= set(found)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", found["tensorflow"])
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", found["commit"])


def test_the_peak_memory_is_in_mib():
    assert 50 < runtime.peak_memory_mb() < 100_000


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_the_system_decides_the_unit_in_which_it_gives_the_peak_memory(monkeypatch, platform, unit):
    usage = types.SimpleNamespace(ru_maxrss=300 * 2**20 // unit)
    monkeypatch.setattr(sys, "platform", platform)
    assert runtime.peak_memory_mb(usage) == 300


def test_without_git_there_is_no_commit_and_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime.provenance()["commit"] is None


def test_what_native_code_prints_is_sent_to_nowhere_and_then_no_longer(capfd):
    with runtime.quietly():
        os.write(2, b"a library complains\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_an_exception_passes_and_stderr_is_back(capfd):
    with pytest.raises(ValueError, match="as always"), runtime.quietly():
        raise ValueError("as always")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_tensorflow_starts_quietly_deterministic_and_with_one_thread_in_an_operation():
    program = (
        "import gc; from lib.system import runtime; runtime.start(threads=3, seed=1)\n"
        "import keras, tensorflow as tf\n"
        "from tensorflow.python.framework import config\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000,"
        " tf.config.threading.get_intra_op_parallelism_threads(),"
        " tf.config.threading.get_inter_op_parallelism_threads(),"
        " config.is_op_determinism_enabled(), keras.backend.backend(),"
        " float(keras.initializers.RandomUniform()((1,))[0]) =="
        " (keras.utils.set_random_seed(1), float(keras.initializers.RandomUniform()((1,))[0]))[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["True", "True", "1", "3", "True", "tensorflow", "True"]


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library does not tell"
)
def test_threads_share_one_heap():
    program = (
        "import ctypes, threading; from lib.system import runtime\n"
        "runtime.start(threads=2, seed=0)\n"
        "barrier = threading.Barrier(8)\n"
        "def allocate(): barrier.wait(); kept.append(bytes(60_000)); barrier.wait()\n"
        "kept, c = [], ctypes.CDLL(None)\n"
        "threads = [threading.Thread(target=allocate) for _ in range(8)]\n"
        "[each.start() for each in threads], [each.join() for each in threads]\n"
        "c.fdopen.restype = ctypes.c_void_p\n"
        "file = ctypes.c_void_p(c.fdopen(1, b'w')); c.malloc_info(0, file); c.fflush(file)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.count("<heap nr=") == 1, done.stdout + done.stderr


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library cannot be asked"
)
def test_memory_that_is_free_again_is_given_back():
    def resident_mb():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    arrays = [np.ones(60_000, np.uint8) for _ in range(2000)]  # below what malloc maps by itself
    del arrays[:-1]  # the last one keeps the heap from shrinking by itself
    before = resident_mb()
    runtime.release_memory()
    assert before - resident_mb() > 60
