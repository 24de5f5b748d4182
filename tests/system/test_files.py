import csv
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.system.files import write_csv, write_json


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
