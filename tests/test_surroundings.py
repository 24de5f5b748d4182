"""What the surroundings say of TensorFlow and Keras, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.system import runtime

ROOT = Path(__file__).parents[1]
AS_IT_IS = """
from lib.system import runtime
{before}
runtime.start(threads=2, seed=0)
import keras, os, tensorflow as tf
print([keras.config.backend(), keras.config.floatx(), keras.config.epsilon(),
       keras.config.image_data_format(), keras.config.dtype_policy().name,
       keras.config.max_epochs(), tf.config.threading.get_intra_op_parallelism_threads(),
       tf.config.optimizer.get_jit()])
"""
STATED = "['tensorflow', 'float32', 1e-07, 'channels_last', 'float32', None, 1, '']"


def printed(tmp_path, keras_json="{}", before="", **variables):
    """What a process says of its settings, last, and what it was warned of, first."""
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(keras_json)
    # Without what the start of the tests has stated already.
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
    surroundings = inherited | {"HOME": str(tmp_path)} | variables
    program = AS_IT_IS.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "keras_json",
    [
        {"floatx": "float16", "epsilon": 0.1},
        {"floatx": "float64", "image_data_format": "channels_first"},
        {"backend": "torch", "image_data_format": "channels_first", "nnx_enabled": True},
        {"floatx": "float17"},
    ],
)
def test_keras_is_not_asked_of_the_home_folder(tmp_path, keras_json):
    assert printed(tmp_path, json.dumps(keras_json)) == [STATED]


def test_keras_that_was_imported_before_is_put_right(tmp_path):
    before = "import keras; keras.config.set_floatx('float16');"
    before += "keras.config.set_image_data_format('channels_first');"
    before += "keras.config.set_dtype_policy('mixed_bfloat16'); keras.config.set_epsilon(0.1)"
    assert printed(tmp_path, before=before)[-1] == STATED


def test_variables_that_change_how_it_computes_are_ignored_with_a_warning(tmp_path):
    *warnings, settings = printed(
        tmp_path,
        KERAS_BACKEND="jax",
        KERAS_MAX_EPOCHS="1",
        TF_NUM_INTRAOP_THREADS="7",
        TF_XLA_FLAGS="--tf_xla_auto_jit=2",
        TF_ENABLE_ONEDNN_OPTS="0",
        ONEDNN_MAX_CPU_ISA="SSE41",
    )
    assert settings == STATED
    assert warnings == [
        "warning: KERAS_BACKEND, KERAS_MAX_EPOCHS, ONEDNN_MAX_CPU_ISA, TF_ENABLE_ONEDNN_OPTS,"
        " TF_NUM_INTRAOP_THREADS, TF_XLA_FLAGS ignored: a run does not depend on its environment"
    ]


def test_variables_of_other_programs_are_left_alone(monkeypatch):
    kept = {"TF_VAR_region": "eu", "TF_CLI_CONFIG_FILE": "x", "TF_CPP_MIN_LOG_LEVEL": "1"}
    kept |= {"TF_CONFIG": "{}", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "0"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    runtime.state_surroundings()
    assert {name: os.environ[name] for name in kept} == kept


def test_what_a_gpu_needs_is_kept_and_recorded(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("CUDA", "NVIDIA", "XLA", "TF_"))]:
        monkeypatch.delenv(name)
    assert runtime.provenance()["environment"] is None
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    expected = "CUDA_VISIBLE_DEVICES=1 XLA_FLAGS=--xla_cpu_enable_fast_math=true"
    assert runtime.provenance()["environment"] == expected


@pytest.mark.parametrize("rc", ["figure.facecolor: red", "savefig.dpi: 11\nfont.size: 40"])
def test_figures_do_not_depend_on_the_settings_of_a_folder_or_backend(tmp_path, rc):
    (tmp_path / "matplotlibrc").write_text(rc)
    program = (
        "import numpy as np; from lib.inference import command_line\n"
        "from lib.reporting import plots\n"
        "figure = plots.training_samples(np.zeros((1, 8, 8, 3), np.uint8), ['cats'])\n"
        "import hashlib; print(hashlib.sha256(plots.rendered(figure).tobytes()).hexdigest())"
    )
    drawn = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": backend},
            capture_output=True,
            text=True,
        )
        for folder, backend in ((ROOT, "agg"), (tmp_path, "nowhere"))
    ]
    assert [done.returncode for done in drawn] == [0, 0], drawn[1].stderr
    assert drawn[0].stdout == drawn[1].stdout


def test_a_notebook_plots_as_before_after_figures_were_drawn_in_it():
    program = (
        "import numpy as np, lib.train, matplotlib; matplotlib.rcParams['font.size'] = 33\n"
        "from lib.reporting import plots\n"
        "plots.rendered(plots.training_samples(np.zeros((1, 8, 8, 3), np.uint8), ['cats']))\n"
        "print(matplotlib.rcParams['font.size'], matplotlib.get_backend())"
    )
    surroundings = os.environ | {"MPLBACKEND": "svg"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("33.0 svg\n", "")


def test_a_program_in_a_folder_that_is_not_utf_8_says_so(tmp_path):
    with pytest.raises(runtime.UserError, match="whose name is not UTF-8"):
        runtime._require_utf8(tmp_path / "caf\udce9")


def test_on_windows_it_says_where_it_runs():
    program = "import os; os.name = 'nt'; import lib"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "Thaw runs on Linux; on Windows, start it in WSL\n",
    )


def test_the_process_that_tensorflow_was_started_in_warns_its_children_of_nothing(tmp_path):
    before = "runtime.start(threads=2, seed=0); runtime.state_surroundings()"
    assert printed(tmp_path, before=before) == [STATED]
