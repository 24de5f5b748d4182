import csv
import json
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.use.tables import SUFFIXES, table

COLUMNS = ("file", "class", "probability")


def read(path):
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file))
        return [row | {"probability": float(row["probability"])} for row in rows]
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))


names = st.binary(min_size=1).filter(lambda b: 0 not in b).map(os.fsdecode)
rows = st.fixed_dictionaries(
    {"file": names, "class": st.just("ants"), "probability": st.floats(0, 1)}
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(given_rows=st.lists(rows, max_size=4))
@example(given_rows=[{"file": "a\rb\r\n.jpg", "class": "ants", "probability": 0.5}])
def test_what_is_written_can_be_read_again(tmp_path, suffix, given_rows):
    path = tmp_path / f"out{suffix}"
    with table(path, COLUMNS) as add:
        for row in given_rows:
            add(row)
    assert read(path) == given_rows


def test_csv_has_the_columns_asked_for_and_json_all_there_is(tmp_path):
    row = {"file": "a", "class": "b", "probability": 0.5, "probabilities": {"b": 0.5}}
    for suffix in SUFFIXES:
        with table(tmp_path / f"out{suffix}", COLUMNS) as add:
            add(row)
    assert (tmp_path / "out.csv").read_text() == "file,class,probability\na,b,0.5\n"
    assert read(tmp_path / "out.json") == read(tmp_path / "out.jsonl") == [row]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_that_was_not_finished_is_not_there(tmp_path, suffix):
    with pytest.raises(KeyboardInterrupt), table(tmp_path / f"out{suffix}", COLUMNS) as add:
        add({"file": "a", "class": "b", "probability": 0.5})
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out.csv"
    with pytest.raises(UserError, match=r"out\.csv cannot be written"), table(path, COLUMNS):
        pass


def test_a_closed_terminal_is_not_taken_for_a_fault_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError), table(tmp_path / "out.csv", COLUMNS):
        raise BrokenPipeError
