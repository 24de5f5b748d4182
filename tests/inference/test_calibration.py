import numpy as np
import pytest

from lib.inference.calibration import (
    HIGHEST,
    LOWEST,
    calibrated,
    fit_temperature,
    temperature_of,
)
from lib.reporting.metrics import calibration
from lib.system.files import write_json


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def drawn(classes, count=20_000):
    """Logits, and labels that are as likely as these logits say."""
    random = np.random.Generator(np.random.Philox(key=classes))
    logits = random.normal(0, 2, (count, classes))
    ranks = random.uniform(size=(count, 1)) > np.cumsum(softmax(logits), axis=1)
    return logits, ranks.sum(axis=1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_logits_that_are_too_large_or_small_is_found(classes, temperature):
    logits, labels = drawn(classes)
    found = fit_temperature(softmax(temperature * logits).astype(np.float32), labels)
    assert found == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_smaller_loss():
    logits, labels = drawn(3, count=200)
    probabilities = softmax(2.5 * logits)

    def loss(temperature):
        scaled = softmax(np.log(probabilities) / temperature)
        return -np.log(scaled[np.arange(200), labels]).mean()

    found = fit_temperature(probabilities, labels)
    assert all(loss(found) < loss(found * factor) for factor in (0.5, 0.97, 1.03, 2))


def test_calibration_makes_the_calibration_error_smaller_and_moves_no_class():
    logits, labels = drawn(2)
    raw = softmax(3 * logits).astype(np.float32)
    scaled = calibrated(raw, fit_temperature(raw, labels))
    assert np.array_equal(scaled.argmax(axis=1), raw.argmax(axis=1))
    errors = [
        calibration(each.argmax(axis=1) == labels, each.max(axis=1)).error for each in (raw, scaled)
    ]
    assert errors[1] < 0.01 < errors[0]


def test_the_temperature_one_changes_nothing():
    raw = softmax(drawn(4, count=50)[0]).astype(np.float32)
    np.testing.assert_allclose(calibrated(raw, 1.0), raw, rtol=1e-6)


def test_certainties_do_not_break_it():
    raw = np.float32([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert np.isfinite(calibrated(raw, 2.0)).all()
    assert fit_temperature(raw, np.array([0, 1, 0])) == pytest.approx(LOWEST)
    assert fit_temperature(raw, np.array([1, 0, 1])) == pytest.approx(HIGHEST)


def test_a_calibration_is_used_for_its_checkpoint_alone(tmp_path, capsys):
    best = tmp_path / "best" / "ckpt-30"
    assert temperature_of(tmp_path, best) == 1.0
    write_json(tmp_path / "calibration.json", {"checkpoint": "ckpt-30", "temperature": 1.5})
    assert temperature_of(tmp_path, best) == 1.5
    assert capsys.readouterr().out == ""
    for other in (tmp_path / "best" / "ckpt-40", tmp_path / "checkpoints" / "ckpt-30"):
        assert temperature_of(tmp_path, other) == 1.0
        assert "is of another checkpoint, and is not used" in capsys.readouterr().out
