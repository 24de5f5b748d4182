import numpy as np
import pytest
import tensorflow as tf

from lib.model.gradcam import make_gradcam
from lib.model.network import build
from tests.conftest import small_backbone


def noise(n):
    return np.random.default_rng(3).integers(0, 256, (n, 32, 32, 3), np.uint8)


def by_definition(network, images, classes, score):
    """Channels of the last feature map, weighed by the mean gradient of the class's score."""
    with tf.GradientTape() as tape:
        features = network.backbone(network.as_input(tf.cast(images, tf.float32)))
        tape.watch(features)
        logits = network.head(tf.reduce_mean(features, axis=(1, 2)))
        scores = tf.stack([score(logits[i], c) for i, c in enumerate(classes)])
    gradients = tape.gradient(scores, features)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = np.maximum(0, tf.reduce_sum(weights * features, axis=3))
    greatest = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, greatest, out=np.zeros_like(heat), where=greatest > 0)


def larger(network, size=96):
    """The same weights in a network whose last feature map has more than one place."""
    classes = max(2, network.head.units)
    wide = build(small_backbone(size), classes, dropout=0.2, seed=0)
    wide.model.set_weights(network.model.get_weights())
    return wide


def wide_noise(n, size=96):
    return np.random.default_rng(3).integers(0, 256, (n, size, size, 3), np.uint8)


def test_heat_of_one_logit_is_grad_cam_of_it_or_of_its_negative(network):
    network = larger(network)
    images, classes = wide_noise(6), np.array([0, 1, 1, 0, 1, 0])  # more than go at once
    heat = make_gradcam(network)(images, classes)
    expected = by_definition(network, images, classes, lambda z, c: z[0] * (1 if c else -1))
    assert heat.shape == (6, 3, 3)
    assert len(np.unique(expected)) > 4  # places differ, so that there is something to compare
    np.testing.assert_allclose(heat, expected, atol=1e-4)


def test_heat_of_a_logit_a_class_is_grad_cam_of_that_logit(network_for_three):
    network = larger(network_for_three)
    images, classes = wide_noise(3), np.array([2, 0, 1])
    heat = make_gradcam(network)(images, classes)
    expected = by_definition(network, images, classes, lambda z, c: z[c])
    assert expected.any()
    np.testing.assert_allclose(heat, expected, atol=1e-4)


def test_heat_reaches_from_0_to_1(network):
    heat = make_gradcam(larger(network))(wide_noise(4), np.ones(4, np.int32))
    assert heat.min() >= 0
    assert heat.max() == pytest.approx(1)


def test_where_nothing_speaks_for_the_class_there_is_no_heat(network):
    network.head.kernel.assign(-tf.ones_like(network.head.kernel))
    assert not make_gradcam(network)(noise(2), np.array([1, 1])).any()


def test_heat_follows_the_weights_as_they_are_at_the_call(network):
    explain = make_gradcam(network)
    network.head.kernel.assign(tf.ones_like(network.head.kernel))
    assert explain(noise(1), np.array([1])).max() == 1
    assert explain(noise(1), np.array([0])).max() == 0


def test_no_images_have_no_heat(network):
    assert make_gradcam(network)(noise(0), np.zeros(0, np.int32)).shape == (0, 1, 1)


def test_heat_of_the_middle_of_images_is_said_of_their_pixels(network):
    explain = make_gradcam(larger(network))
    images, classes = wide_noise(2, size=112), np.array([0, 1])
    heat, of_middle = explain(images, classes), explain(images[:, 8:-8, 8:-8], classes)
    assert heat.shape == (2, 112, 112) and of_middle.shape == (2, 3, 3)
    assert heat.max() > 0.9 and heat.min() == 0
    outside = np.ones((112, 112), bool)
    outside[8:-8, 8:-8] = False
    assert not heat[:, outside].any()
    centres = 8 + 16 + 32 * np.arange(3)
    np.testing.assert_allclose(heat[:, centres][:, :, centres], of_middle, atol=0.1)
