import csv
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.reporting.result import wilson_interval, write_csv, write_json, write_predictions


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


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=5))
@example([["a\rb.jpg", "\r"], ["a\r\nb.jpg", "\n"], ["\r\n", ""]])
def test_every_table_comes_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("run") / "table.csv"
    write_csv(path, ["one", "other"], rows)
    assert path.read_bytes().startswith(b"one,other\n")
    with open(path, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["one", "other"], *rows]


def test_json_is_indented_in_the_given_order_with_letters_as_they_are(tmp_path):
    write_json(tmp_path / "new folder" / "result.json", {"b": 1, "a": {"猫": None}})
    assert (tmp_path / "new folder" / "result.json").read_bytes().decode() == (
        '{\n  "b": 1,\n  "a": {\n    "猫": null\n  }\n}\n'
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_every_mapping_comes_back_as_it_was(tmp_path_factory, mapping):
    path = tmp_path_factory.mktemp("run") / "result.json"
    write_json(path, mapping)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read == mapping and list(read) == list(mapping)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_does_not_know_are_refused_and_the_old_file_stays(tmp_path, number):
    path = tmp_path / "result.json"
    write_json(path, {"loss": 0.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": number})
    assert json.loads(path.read_text()) == {"loss": 0.5}
