import numpy as np
import pytest
import tensorflow as tf

from lib.errors import UserError
from lib.training.measures import MEASURES, Outcome, measured

OUTCOME = Outcome(
    logits=np.float32([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]]),
    targets=np.float32([[1.0, 0.0], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0]]),
    losses=np.float32([1.0, 2.0, 3.0, 6.0]),
    gradients=[np.float32([[3.0, 0.0]]), np.float32([4.0]), np.float32([12.0])],
    variables=[],
)


@pytest.fixture
def register(monkeypatch):
    """Registers for the length of a test."""
    monkeypatch.setattr(MEASURES, "_functions", dict(MEASURES._functions))
    return MEASURES.register


def test_loss_accuracy_and_gradient_norm_are_measured():
    found = measured(OUTCOME)
    assert list(found) == ["loss", "accuracy", "gradient_norm"]
    assert {name: float(value) for name, value in found.items()} == {
        "loss": 3.0,
        "accuracy": 0.75,  # by the likeliest class of mixed targets
        "gradient_norm": 13.0,
    }


def test_the_accuracy_of_one_logit_is_by_its_sign_and_the_half():
    one = OUTCOME._replace(
        logits=tf.constant([[1.0], [-1.0], [1.0], [-1.0]]),
        targets=tf.constant([[0.6], [0.4], [0.4], [1.0]]),
    )
    assert float(measured(one)["accuracy"]) == 0.5


def test_what_is_registered_is_measured_in_a_graph_too(register):
    @register
    def margin(outcome):
        return tf.reduce_mean(tf.abs(outcome.logits))

    found = tf.function(lambda: measured(OUTCOME), autograph=False)()
    assert float(found["margin"]) == pytest.approx(np.mean([2, 1, 0, 1, 3, 0, 0, 5]))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.float32([1.0]), r"'odd' returned float32 \(1,\); expected a float32 scalar"),
        (np.float64(1.0), "'odd' returned float64"),
        (3, "'odd' returned int32"),
        (None, "'odd' failed: ValueError"),
    ],
)
def test_a_measure_that_is_no_float32_scalar_is_named(register, value, said):
    @register
    def odd(outcome):
        return value

    with pytest.raises(UserError, match=said) as error:
        measured(OUTCOME)
    assert "\n" not in str(error.value)


def test_a_measure_that_fails_is_named(register):
    @register
    def odd(outcome):
        return outcome.nothing

    with pytest.raises(UserError, match=r"'odd' failed: AttributeError: .*nothing"):
        measured(OUTCOME)
