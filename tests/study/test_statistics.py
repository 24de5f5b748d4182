"""Against tables, examples computed by hand, and simulation."""

import math

import numpy as np
import pytest

from lib.study.statistics import mean_of, paired_difference, t_quantile, t_tail


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # W. Beyer, "CRC standard mathematical tables": 97.5 % points.
    [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)],
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=5e-4)


def test_the_tail_has_its_closed_forms():
    for t in (0.0, 1e-7, 0.3, 1.0, 2.5, 40.0, 1e6):
        one = 0.5 - math.atan(t) / math.pi  # of one degree of freedom, which is Cauchy's
        assert t_tail(t, 1) == pytest.approx(one, rel=1e-9)
        two = 1 / ((2 + t * t) * (1 + t / math.sqrt(2 + t * t)))
        assert t_tail(t, 2) == pytest.approx(two, rel=1e-9)


def test_the_tail_of_many_degrees_is_nearly_that_of_a_normal_distribution():
    assert t_tail(1.96, 10**6) == pytest.approx(0.5 * math.erfc(1.96 / math.sqrt(2)), abs=1e-6)


def test_quantile_and_tail_are_inverse():
    for freedom in (1, 3, 17):
        for probability in (0.5, 0.8, 0.975, 0.9999):
            tail = t_tail(t_quantile(probability, freedom), freedom)
            assert tail == pytest.approx(1 - probability, rel=1e-9)


def test_mean_deviation_and_interval_by_hand():
    found = mean_of([0.96, 0.97, 0.98, 0.97, 0.95])
    # Deviations from 0.966: -6, 4, 14, 4, -16 thousandths; squares add up to 520e-6, by 4: 130e-6.
    assert found.mean == pytest.approx(0.966)
    assert found.deviation == pytest.approx(math.sqrt(130e-6))
    half = 2.776445 * math.sqrt(130e-6) / math.sqrt(5)
    assert found.interval == pytest.approx((0.966 - half, 0.966 + half), abs=1e-7)


def test_a_single_value_has_neither_deviation_nor_interval():
    assert mean_of([0.5]) == (0.5, None, None, 1)


def test_of_folds_the_interval_is_wider_by_what_is_held_back():
    values = [0.9, 0.92, 0.94, 0.93, 0.91]
    plain, folds = mean_of(values), mean_of(values, held_back=1 / 4)
    widths = [bounds[1] - bounds[0] for bounds in (plain.interval, folds.interval)]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert (plain.mean, plain.deviation) == (folds.mean, folds.deviation)


def test_the_paired_test_gives_what_student_gave_for_sleep():
    # "The probable error of a mean", 1908, illustration I: hours of sleep gained by ten patients
    # from two drugs. R's documentation of `sleep` has t = 4.0621, p = 0.002833, 0.70 to 2.46.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(1.58)
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    assert found.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.count == 10


def test_pairs_that_all_differ_by_the_same():
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p_value == 1.0
    found = paired_difference([1.0, 2.0, 4.0], [2.0, 3.0, 5.0])
    assert (found.mean, found.interval, found.p_value) == (1.0, (1.0, 1.0), 0.0)


def test_one_pair_says_nothing():
    assert paired_difference([1.0], [2.0]) is None


@pytest.mark.parametrize("count", [3, 5, 20])
def test_of_a_thousand_simulated_studies_the_interval_holds_the_mean_in_95_of_100(count):
    random = np.random.Generator(np.random.Philox(key=count))
    studies = random.normal(0.97, 0.01, (1000, count))
    intervals = [mean_of(study).interval for study in studies]
    assert 930 <= sum(low <= 0.97 <= high for low, high in intervals) <= 970


def test_of_a_thousand_simulated_comparisons_without_a_difference_5_of_100_seem_to_have_one():
    random = np.random.Generator(np.random.Philox(key=7))
    shared = random.normal(0.0, 0.02, (1000, 5))  # what the seed does to both
    first, second = (0.97 + shared + random.normal(0, 0.005, (1000, 5)) for _ in range(2))
    found = [paired_difference(*pair) for pair in zip(first, second, strict=True)]
    assert 30 <= sum(each.p_value < 0.05 for each in found) <= 70
    assert 930 <= sum(each.interval[0] <= 0 <= each.interval[1] for each in found) <= 970
