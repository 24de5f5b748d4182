import numpy as np
import pytest

from lib.errors import UserError
from lib.training.rate_finder import HIGHEST, LOWEST, STEPS, RateTest, _Rising, smoothed

RATES = np.geomspace(LOWEST, HIGHEST, STEPS)


def test_the_rate_rises_from_the_lowest_to_the_highest_by_the_same_factor():
    found = np.array([float(_Rising()(step)) for step in range(STEPS)])
    np.testing.assert_allclose(found, RATES, rtol=1e-4)


def test_smoothing_is_a_mean_that_forgets():
    np.testing.assert_allclose(smoothed(np.array([3.0, 3.0, 3.0])), 3.0)
    np.testing.assert_allclose(smoothed(np.array([1.0, 2.0])), [1.0, (0.9 * 0.1 + 0.2) / 0.19])


@pytest.mark.parametrize("steepest", [1e-4, 1e-2])
def test_the_suggestion_is_where_the_loss_falls_the_fastest(steepest):
    decades = np.log10(RATES / steepest)
    losses = 1.0 / (1.0 + np.exp(2 * decades)) + np.where(decades > 2, 10.0 ** (decades - 2), 0.0)
    assert RateTest(RATES, losses).suggestion == pytest.approx(steepest, rel=0.25)


def test_one_lucky_batch_does_not_decide():
    decades = np.log10(RATES / 1e-3)
    losses = 1.0 / (1.0 + np.exp(2 * decades))
    losses[10:13] -= 0.2
    assert RateTest(RATES, losses).suggestion == pytest.approx(1e-3, rel=0.5)


def test_an_easy_batch_at_the_beginning_hides_nothing():
    losses = 1.0 / (1.0 + np.exp(2 * np.log10(RATES / 1e-3)))
    losses[0] = -0.1
    assert RateTest(RATES, losses).suggestion == pytest.approx(1e-3, rel=0.25)


def test_a_loss_that_never_fell_suggests_nothing():
    with pytest.raises(UserError, match="did not fall at any rate"):
        _ = RateTest(RATES, np.arange(STEPS, dtype=float)).suggestion


def test_the_suggestion_is_a_number_of_two_digits():
    assert len(f"{RateTest(RATES, np.linspace(1, 0, STEPS)).suggestion:g}".replace("-", "")) <= 7
