import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.config import Config
from lib.errors import UserError
from lib.model.architecture import keep, open_kept
from lib.model.backbones import BACKBONES, default_size, options_of
from lib.model.engine import cut
from lib.model.freezing import block, blocks_of
from lib.model.gradcam import make_gradcam
from lib.model.graph import graph_of
from tests.model import networks
from tests.model.networks import SIZE, TRAINED, images

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def elsewhere():
    """What three steps leave of each network's weights in another process, once it has ended."""
    code = (
        "from lib.system import runtime; runtime.start(2, 0)\n"
        "import json; from tests.model import networks\n"
        "after = networks.weights_after_three_steps\n"
        "print(json.dumps({name: after(name) for name in networks.TRAINED}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield functools.cache(lambda: json.loads(process.communicate()[0]))
    process.kill()


@pytest.fixture(scope="module", params=[*TRAINED, "nasnet_mobile"])
def lively(request, elsewhere):
    return request.param, networks.lively(request.param)


@pytest.fixture(scope="module")
def frozen(lively):
    """The engine of a network that is frozen as a whole."""
    return cut(lively[1], None, "auto", threads=2)


def test_features_are_those_of_keras(lively, frozen):
    network = lively[1]
    given = network.as_input(images(4).astype(np.float32))
    plain = network.pool(network.backbone(given, training=False)).numpy()
    difference = np.abs(frozen.prefix(images(4)) - plain).max()
    assert difference <= 1e-4 * np.abs(plain).max()


def test_an_image_has_the_same_features_to_the_last_bit_in_any_batch(frozen):
    together = frozen.prefix(images(20)).numpy()
    for first, last in ((0, 1), (3, 5), (7, 20)):
        np.testing.assert_array_equal(frozen.prefix(images(20)[first:last]), together[first:last])


def test_the_frozen_part_runs_in_litert(frozen):
    assert frozen.by_image  # as only LiteRT computes it


def test_a_kept_architecture_has_the_same_steps_and_weights(lively, tmp_path):
    network = lively[1]
    keep(tmp_path, network.backbone, network.scaling)
    again, scaling = open_kept(tmp_path)
    assert scaling == network.scaling
    variables = network.backbone.variables
    assert [(v.name, v.shape) for v in again.variables] == [(v.name, v.shape) for v in variables]
    steps, before = graph_of(again).steps, graph_of(network.backbone).steps
    assert [(step.takes, step.gives, step.shapes) for step in steps] == [
        (step.takes, step.gives, step.shapes) for step in before
    ]
    assert blocks_of(again) == blocks_of(network.backbone)


def test_the_trained_part_differs_from_keras_in_nothing_but_rounding(lively):
    """In double precision, as in single the order of sums moves ReLU's kinks."""
    name, network = lively
    if name not in TRAINED:
        pytest.skip("of this one the frozen part is looked at")
    features = tf.cast(networks.features_at_the_cut(network, 1), tf.float64)
    with networks.float64():
        keras.backend.clear_session(free_memory=False)
        backbone = BACKBONES[name](SIZE, None)
        precise = networks.build(backbone, 2, 0.2, 0, network.scaling)
        backbone.set_weights(network.backbone.get_weights())
        plain, variables = networks.gradient_step(precise, False, features.shape)
        folded, _ = networks.gradient_step(precise, True, features.shape)
        found = zip(variables, folded(features), plain(features), strict=True)
        for variable, one, other in found:
            scale = np.abs(other).max()
            assert np.abs(one - other).max() <= 1e-9 * max(scale, 1e-6), variable.path


def test_three_steps_are_equal_in_two_processes_and_their_sums_exact(lively, elsewhere):
    name, _ = lively
    if name not in TRAINED:
        pytest.skip("of this one the frozen part is looked at")
    # An AddN of more than two terms would be an error there.
    assert networks.weights_after_three_steps(name) == elsewhere()[name]


def test_every_backbone_of_keras_is_there_with_its_scaling_and_size():
    names = {"mobilenet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "vgg16"}
    names |= {"resnet50", "resnet101", "resnet50_v2", "densenet121", "densenet169", "xception"}
    names |= {"convnext_tiny", "convnext_small", "inception_v3", "inception_resnet_v2"}
    names |= {"nasnet_mobile", "efficientnet_v2_s", *(f"efficientnet_b{i}" for i in range(8))}
    assert names | {f"efficientnet_v2_b{i}" for i in range(4)} <= set(BACKBONES)
    assert BACKBONES.records["resnet50"].scaling == "caffe"
    assert BACKBONES.records["densenet121"].scaling == "torch"
    assert (default_size("mobilenet_v2"), default_size("xception")) == (160, 299)


def test_options_come_from_the_spec_and_the_width_from_its_short_form_too():
    assert options_of(Config(backbone="mobilenet_v2(alpha=0.35)"))[1] == {"alpha": 0.35}
    assert options_of(Config(backbone="mobilenet_v2(0.35)", alpha=0.35))[1] == {"alpha": 0.35}
    assert options_of(Config(backbone="mobilenet", alpha=0.5))[1] == {"alpha": 0.5}
    assert options_of(Config(backbone="resnet50"))[1] == {}
    small = options_of(Config(backbone="mobilenet_v3_small(minimalistic=True)"))
    assert small == ("mobilenet_v3_small", {"alpha": 1.0, "minimalistic": True})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backbone": "resnt50"}, "--backbone=resnt50: there is no backbone .* mean resnet50"),
        ({"backbone": "resnet50(depth=3)"}, "unexpected keyword argument 'depth'"),
        ({"backbone": "resnet50("}, r"--backbone=resnet50\(: .*path of a .keras file"),
        ({"backbone": "resnet50", "alpha": 0.5}, "--alpha=0.5: resnet50 comes in one width"),
        ({"backbone": "mobilenet(alpha=0.25)", "alpha": 0.5}, "give one of the two"),
    ],
)
def test_a_wrong_backbone_is_refused_in_a_line(wrong, said):
    with pytest.raises(UserError, match=said) as error:
        options_of(Config(**wrong))
    assert "\n" not in str(error.value)


def test_a_name_needs_neither_keras_nor_tensorflow():
    code = (
        "import sys; from lib.model.backbones import default_size; default_size('resnet50')\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


BLOCKS = {
    "block_3_expand_BN": "block_3",
    "expanded_conv_depthwise": "expanded_conv",
    "expanded_conv_4_squeeze_excite_conv": "expanded_conv_4",
    "block4a_se_reduce": "block4a",
    "conv3_block2_1_conv": "conv3_block2",
    "convnext_tiny_stage_2_block_5_depthwise_conv": "stage_2_block_5",
    "convnext_tiny_downsampling_block_0_conv": "downsampling_block_0",
    "block35_4_conv": "block35_4",
    "block13_sepconv1_bn": "block13",
    "conv_dw_7_bn": "conv_7",
    "separable_conv_1_bn_normal_left5_8": "cell_8",
    "Conv_1_bn": "Conv_1",
    "bn_Conv1": "Conv1",
    "stem_conv": "stem",
    "pool2_bn": "pool2",
}


@pytest.mark.parametrize(("layer", "expected"), BLOCKS.items())
def test_a_layer_belongs_to_the_block_that_its_name_says(layer, expected):
    assert block(layer) == expected


def test_layers_without_a_name_of_their_own_belong_to_the_block_of_the_next_that_has_one(lively):
    name, network = lively
    if name != "inception_v3":
        pytest.skip("its layers have no names")
    blocks = dict.fromkeys(blocks_of(network.backbone))
    assert [each for each in blocks if each.startswith("mixed")] == [
        *(f"mixed{i}" for i in range(9)),
        *("mixed9_0", "mixed9", "mixed9_1", "mixed10"),
    ]


def test_where_a_class_was_seen_is_shown_of_every_network(lively):
    _, network = lively
    heat = make_gradcam(network)(images(2), np.array([1, 0]))
    assert heat.ndim == 3 and heat.shape[1] == heat.shape[2]
    assert heat.min() == 0.0
    # Of one place alone it may be that it speaks for no class.
    assert heat.shape[1] == 1 or heat.max() == pytest.approx(1.0)
