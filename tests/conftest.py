"""What many tests need: images to train on, a network whose numbers mean something."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from lib.system import runtime

# How long an example takes depends on who else uses the machine.
settings.register_profile("thaw", deadline=None)
settings.load_profile("thaw")


def pytest_configure(config):
    runtime.state_surroundings()  # as tests import Keras and TensorFlow before any is run
    # What TensorFlow and Keras tell of themselves.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation doesn't")


@pytest.fixture(scope="session", autouse=True)
def tensorflow_as_in_a_run():
    """Starts TensorFlow, once, if any of the tests that were collected uses it."""
    if "tensorflow" in sys.modules:
        runtime.start(threads=2, seed=0)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """No test reads or writes the cache of the person who runs it."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def draw_images():
    """A function that fills folders ("train/ants": 12) with noise, each class of its own tint.

    The less of the levels is noise, the easier the classes are told apart.
    """

    def draw(root: Path, counts: dict[str, int], noise_levels: int = 160) -> Path:
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True)
            of_class = np.random.default_rng(zlib.crc32(Path(folder).name.encode()))
            tint = of_class.integers(0, 256 - noise_levels, 3)
            for number in range(count):
                noise = np.random.default_rng([zlib.crc32(folder.encode()), number])
                pixels = noise.integers(0, noise_levels, (40, 44, 3)) + tint
                Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{number}.png")
        return root

    return draw


@pytest.fixture(scope="session")
def two_classes(tmp_path_factory, draw_images):
    """A data set: 22 training images, 16 for validation and 4 for the test."""
    return draw_images(
        tmp_path_factory.mktemp("two") / "insects",
        {"train/ants": 11, "train/bees": 11, "validation/ants": 10, "validation/bees": 10},
    )


@pytest.fixture(scope="session")
def distinct_classes(tmp_path_factory, draw_images):
    """As many images of two classes that even a tiny network learns to tell apart surely."""
    return draw_images(
        tmp_path_factory.mktemp("distinct") / "insects",
        {"train/ants": 11, "train/bees": 11, "validation/ants": 10, "validation/bees": 10},
        noise_levels=64,
    )


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory, draw_images):
    """A data set of class folders alone, one of them smaller."""
    return draw_images(
        tmp_path_factory.mktemp("three") / "more insects", {"ants": 12, "bees": 12, "cicadæ": 8}
    )


def small_backbone(size: int = 32, alpha: float = 0.35):
    """A small MobileNetV2, with random weights."""
    import keras

    keras.backend.clear_session(free_memory=False)  # so that layers have their own names
    return keras.applications.MobileNetV2(
        (size, size, 3), alpha=alpha, include_top=False, weights=None
    )


def build_lively(classes: int):
    """A network of 32 pixels and alpha 0.35 in which every layer's output varies.

    With random kernels and the statistics of an untrained network the features would be all but
    constant, and a mistake in them would not show. So the statistics are those of noise, and scale
    and offset, ones and zeros in a new network, are random numbers.
    """
    from lib.model.network import build

    network = build(small_backbone(), classes, dropout=0.2, seed=0)
    random = np.random.default_rng(7)
    normalisations = [layer for layer in network.backbone.layers if hasattr(layer, "moving_mean")]
    for layer in normalisations:
        layer.gamma.assign(random.uniform(0.7, 1.3, layer.gamma.shape))
        layer.beta.assign(random.uniform(0.0, 0.5, layer.beta.shape))
        layer.momentum = 0.0
    noise = random.uniform(0, 255, (64, 32, 32, 3)).astype(np.float32)
    network.backbone(network.as_input(noise), training=True)
    for layer in normalisations:
        layer.momentum = 0.999
    return network


@pytest.fixture(scope="session")
def shared_networks():
    """Networks by their number of classes, and the weights that they began with."""
    # Also where no test that was collected imports TensorFlow by itself.
    runtime.start(threads=2, seed=0)
    built = {}

    def get(classes: int):
        if classes not in built:
            network = build_lively(classes)
            built[classes] = network, network.model.get_weights()
        return built[classes]

    return get


def as_begun(network, weights):
    """Undoes what a test did to a network: to its weights, and to what of it is frozen."""
    network.model.set_weights(weights)
    network.model.trainable = True  # and with it each of its layers
    return network


@pytest.fixture
def network(shared_networks):
    """A lively network for two classes; what a test does to it is undone before the next."""
    return as_begun(*shared_networks(2))


@pytest.fixture
def network_for_three(shared_networks):
    """The same for three classes."""
    return as_begun(*shared_networks(3))


@pytest.fixture(scope="session")
def weight_file(tmp_path_factory, shared_networks):
    """A weight file without top, of alpha 0.35."""
    network = as_begun(*shared_networks(2))
    path = tmp_path_factory.mktemp("weights") / "noise.weights.h5"
    network.backbone.save_weights(path)
    return path


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """A `.keras` file of a network of a few layers, which is built and traced in a moment.

    Its blocks are called as some of MobileNetV2's, so that flags and presets for that fit it, and
    it has as many weights as a narrow one, so that a checkpoint is as large.
    """
    import keras

    keras.utils.set_random_seed(0)
    layers, lively = keras.layers, keras.initializers.Constant(50.0)
    x = images = keras.Input((32, 32, 3))
    x = layers.Conv2D(96, 3, strides=4, padding="same", use_bias=False, name="Conv1")(x)
    for name in ("block_10", "block_11", "block_14", "block_15", "block_16"):
        before = x
        x = layers.Conv2D(384, 1, use_bias=False, name=f"{name}_expand")(x)
        x = layers.BatchNormalization(name=f"{name}_expand_BN")(x)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        x = layers.Conv2D(96, 1, use_bias=False, name=f"{name}_project")(x)
        # As an untrained network's, features would hardly differ between images.
        x = layers.BatchNormalization(gamma_initializer=lively, name=f"{name}_project_BN")(x)
        x = layers.Add(name=f"{name}_add")([before, x])
    path = tmp_path_factory.mktemp("backbone") / "tiny.keras"
    keras.Model(images, x).save(path)
    return path


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, distinct_classes, weight_file):
    """The folder of a small run, trained on `distinct_classes`."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train = Path(__file__).parents[1] / "train.py"
    flags = {
        "dataset": distinct_classes,
        "weights": weight_file,
        "workdir": folder,
        "image_size": 32,
        "alpha": 0.35,
        "batch_size": 4,
        "threads": 2,
        "head_epochs": 6,
        "finetune_epochs": 1,
        "head_learning_rate": 0.003,
        "augment": "",
        "seed": 4,
    }
    command = [sys.executable, train, *(f"--{name}={value}" for name, value in flags.items())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def run_of_middles(tmp_path_factory, trained_run):
    """The same run, as if it saw the middle 32 pixels of images of 40."""
    folder = shutil.copytree(trained_run, tmp_path_factory.mktemp("middles") / "run")
    config = json.loads((folder / "config.json").read_text())
    config["flags"]["source_size"] = 40
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _from_environment(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    if not Path(value).exists():
        pytest.skip(f"{variable}={value} does not exist")
    return Path(value)


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs of cats and dogs."""
    return _from_environment("CATS_AND_DOGS_DIR")


@pytest.fixture(scope="session")
def pretrained():
    """Keras' ImageNet weights of MobileNetV2 without top, alpha 1.0, 160 pixels."""
    return _from_environment("MOBILENET_V2_WEIGHTS")
