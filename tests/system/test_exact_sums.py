import hashlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop, context

from lib.errors import UserError
from lib.system import exact_sums
from lib.system.exact_sums import require_exact_sums

# A sum in this order is 1, in that of the other end 0.
TERMS = np.float32([1e8, -1e8, 1.0])


@pytest.fixture
def tensorflows_own_sums():
    pywrap_tfe.TFE_Py_RegisterVSpace(backprop._default_vspace)
    yield
    exact_sums.install()


def three_uses(logits):
    """A loss as a plugin would write it."""
    chances = tf.nn.softmax(logits)
    return (
        tf.reduce_sum(chances * tf.nn.log_softmax(logits), axis=1)
        + tf.reduce_sum(tf.sin(logits), axis=1)
        + 0.01 * tf.reduce_sum(logits**2, axis=1)
    )


def gradient_of(loss):
    @tf.function(autograph=False)
    def gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = tf.reduce_sum(loss(logits))
        return tape.gradient(value, logits)

    return gradient.get_concrete_function(tf.TensorSpec((None, 5)))


def kinds(function):
    return [operation.type for operation in function.graph.get_operations()]


def test_the_gradient_of_three_uses_is_no_addn_and_right():
    gradient = gradient_of(three_uses)
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype("f4")
    require_exact_sums(gradient)
    assert "Pack" in kinds(gradient)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    inner = np.log(p) - (p * np.log(p)).sum(1, keepdims=True)
    np.testing.assert_allclose(
        gradient(tf.constant(logits)), p * inner + np.cos(logits) + 0.02 * logits, atol=1e-5
    )


def test_without_it_tensorflow_sums_by_addn(tensorflows_own_sums):
    with pytest.raises(UserError, match=r"AddN.* sums \d tensors .*tf.reduce_sum\(tf.stack") as e:
        require_exact_sums(gradient_of(three_uses))
    assert "\n" not in str(e.value)


def kinds_when_run(loss):
    """The operations of a loss and its gradient, as TensorFlow has optimised them."""
    logits = tf.ones((4, 5))

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = tf.reduce_sum(loss(logits))
        return value, tape.gradient(value, logits)

    context.context().enable_graph_collection()
    try:
        gradient()
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()
    return [node.op for each in graphs for node in each.post_optimization_graph.node]


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_sum_in_the_forward_pass_of_a_loss_stays_as_it_is_written(rewritten):
    def four_terms(logits):
        return (tf.sin(logits) + tf.cos(logits)) + (tf.tanh(logits) + tf.exp(logits))

    if rewritten:  # by what is switched off, without which this would be no danger
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    try:
        found = kinds_when_run(four_terms)
    finally:
        exact_sums.install()
    assert ("AddN" in found) == rewritten
    assert found.count("AddV2") == (0 if rewritten else 3)


def test_sums_of_two_stay_as_they_are():
    gradient = gradient_of(lambda logits: tf.sin(logits) + tf.cos(logits))
    assert "AddN" in kinds(gradient)
    require_exact_sums(gradient)


def test_terms_are_added_in_their_order():
    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = [x * factor for factor in tf.unstack(tf.constant(TERMS))]
            total = tf.reduce_sum(tf.stack(y))
        return tape.gradient(total, x)

    assert float(gradient(tf.constant(1.0))) in (0.0, 1.0)
    found = {float(gradient(tf.constant(1.0))) for _ in range(50)}
    assert len(found) == 1
    assert float(exact_sums._aggregate(list(tf.unstack(tf.constant(TERMS))))) == 1.0


def test_a_sum_inside_of_a_function_is_found():
    inner = tf.function(three_uses, autograph=False)
    with pytest.raises(UserError, match="AddN"):
        require_exact_sums(gradient_of(lambda logits: inner(logits)))


def test_a_sum_that_code_asks_for_itself_is_found():
    summed = tf.function(lambda x: tf.add_n([x, 2 * x, 3 * x]), autograph=False)
    with pytest.raises(UserError, match="sums 3 tensors by AddN"):
        require_exact_sums(summed.get_concrete_function(tf.TensorSpec((2,))))


def test_slices_of_an_embedding_are_summed_as_before():
    table = tf.Variable(tf.ones((4, 2)))
    with tf.GradientTape() as tape:
        rows = [tf.gather(table, [index]) for index in (0, 1, 1)]
        total = tf.reduce_sum(tf.stack(rows))
    gradient = tape.gradient(total, table)
    assert tf.convert_to_tensor(gradient).numpy().tolist() == [[1, 1], [2, 2], [0, 0], [0, 0]]


TRAIN = """
import hashlib
from lib.system import runtime
runtime.start(threads=2, seed=0)
import numpy as np
import tensorflow as tf
from tests.system.test_exact_sums import steps
print(steps())
"""


def steps():
    """A digest of gradients of a loss with three uses of the logits, one of which has a bias."""
    draw = np.random.default_rng(0)
    features = tf.constant(draw.normal(size=(4096, 10)).astype("f4"))
    kernel = tf.Variable(draw.normal(size=(10, 10)).astype("f4"))
    bias = tf.Variable(draw.normal(size=10).astype("f4"))

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            logits = features @ kernel
            value = tf.reduce_mean(
                three_uses(logits) + tf.reduce_sum(tf.exp(0.3 * (logits + bias)), axis=1)
            )
        return tape.gradient(value, [kernel, bias])

    digest = hashlib.sha256()
    for _ in range(100):
        for gradient in gradients():
            kernel.assign_sub(0.01 * gradient) if gradient.shape.rank == 2 else None
            digest.update(gradient.numpy().tobytes())
    return digest.hexdigest()


def test_two_processes_have_equal_gradients():
    found = [
        subprocess.run(
            [sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        for _ in range(2)
    ]
    assert found[0] == found[1] == steps()
