import keras
import numpy as np
import pytest
import tensorflow as tf

from lib.model.network import build
from lib.training.feed import Batch
from lib.training.gradients import differentiated, through_folding
from lib.training.slice_step import make_slice_step, trace_slice
from lib.training.steps import outcome_of
from tests.training.test_steps import THAWED, batch, learner_of


def test_a_variable_that_is_folded_and_used_as_it_is_has_the_sum_of_both_gradients():
    both, folded, direct, _ = variables = [keras.Variable(value) for value in (2.0, 3.0, 5.0, 7.0)]

    def fold():
        return ({"kernel": both.value * folded.value}, {})

    weights = fold()
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = 10.0 * weights[0]["kernel"] + both.value * direct.value
    found = through_folding(differentiated(tape, loss, weights, variables), fold, variables)
    # loss = 10 both folded + both direct
    assert [float(each) for each in found] == [10.0 * 3.0 + 5.0, 10.0 * 2.0, 2.0, 0.0]


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_the_gradient_of_a_batch_is_that_of_its_mean_loss_in_the_variables(network, kind):
    learner = learner_of(network, THAWED, dropout=0.0, kind=kind)
    images, targets = batch()
    features = learner.engine.prefix(images)
    computed = make_slice_step(learner, trace_slice(learner))(
        Batch(features, targets, len(targets)), 0
    )
    with tf.GradientTape() as tape:
        logits = network.head(network.pool(network.backbone(network.as_input(images * 1.0))))
        loss = tf.reduce_mean(learner.loss(logits, targets))
    expected = tape.gradient(loss, [each.value for each in learner.variables])
    found = outcome_of(learner, computed).gradients
    for variable, one, other in zip(learner.variables, found, expected, strict=True):
        scale = np.abs(other).max()
        assert scale > 0, variable.path
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3 * scale, err_msg=variable.path)


def test_slices_compute_with_what_was_folded_before(network):
    learner = learner_of(network, THAWED, kind="auto")
    operations = {node.op for node in trace_slice(learner).graph.as_graph_def().node}
    assert "Conv2D" in operations or "MatMul" in operations
    assert "Rsqrt" not in operations  # of a variance


def test_a_layer_without_normalisation_behind_it_is_differentiated_too():
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3, strides=2, name="one")(inputs)
    backbone = keras.Model(inputs, keras.layers.Conv2D(5, 3, use_bias=False, name="two")(features))
    learner = learner_of(build(backbone, 2, 0.0, 0), "one", dropout=0.0, kind="auto")
    assert len(tf.nest.flatten(learner.engine.weights())) == 3
    images, targets = batch()
    features = learner.engine.prefix(images)
    slice_step = make_slice_step(learner, trace_slice(learner))
    computed = slice_step(Batch(features, targets, len(targets)), 0)
    for gradient in outcome_of(learner, computed).gradients:
        assert np.abs(gradient).max() > 0
