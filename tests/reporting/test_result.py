import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.reporting.result import wilson_interval, write_predictions


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_it_gives_the_intervals_of_the_literature(correct, count, low, high):
    # R. G. Newcombe, Statistics in Medicine 17, 1998, pages 857-872, table I, method 3.
    assert wilson_interval(correct, count) == pytest.approx((low, high), abs=5e-5)


counted = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counted, st.floats(0.5, 0.999))
def test_the_bounds_solve_the_equation_of_the_score_test(correct_count, confidence):
    correct, count = correct_count
    low, high = wilson_interval(correct, count, confidence)
    assert 0 <= low <= correct / count <= high <= 1
    if 0 < correct < count:
        for bound in (low, high):
            z = (correct / count - bound) / math.sqrt(bound * (1 - bound) / count)
            assert math.erf(abs(z) / math.sqrt(2)) == pytest.approx(confidence, abs=1e-6)


@given(counted)
def test_right_and_wrong_answers_mirror_each_other(correct_count):
    correct, count = correct_count
    low, high = wilson_interval(correct, count)
    assert wilson_interval(count - correct, count) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(correct, count):
    with pytest.raises(ValueError, match="not a measurement"):
        wilson_interval(correct, count)


def test_predictions_are_a_table_whatever_the_names_of_files_and_classes(tmp_path):
    path = tmp_path / "predictions.csv"
    odd = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    rows = [('cats/a, "b".jpg', "猫", "dogs", np.float32(0.5)), (odd, "cats", "cats", 1 / 3)]
    write_predictions(path, rows)
    assert b"\ncaf\xe9.jpg,cats,cats,0.3333333333333333\n" in path.read_bytes()
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "true_class", "predicted_class", "probability"],
            ['cats/a, "b".jpg', "猫", "dogs", "0.5"],
            [odd, "cats", "cats", "0.3333333333333333"],
        ]
