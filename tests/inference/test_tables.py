import contextlib
import csv
import json
import os
import resource

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.inference.tables import SUFFIXES, table, unfinished

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


def some_rows(count):
    return [{"file": f"{i}.jpg", "class": "ants", "probability": i / 100} for i in range(count)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_whole_after_each_row_and_has_its_name_at_the_end_alone(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with table(path, COLUMNS) as add:
        for count in range(4):
            assert read(unfinished(path)) == some_rows(count)
            assert not path.exists()
            add(some_rows(count + 1)[-1])
    assert read(path) == some_rows(4)
    assert list(tmp_path.iterdir()) == [path]


def test_rows_are_on_the_disk_before_the_table_takes_its_name(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: order.append("fsync") or sync(number))
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("replace") or replace(*paths))
    with table(tmp_path / "out.csv", COLUMNS) as add:
        add(some_rows(1)[0])
        assert order == []
    assert order == ["fsync", "replace"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_that_was_not_finished_keeps_its_rows_and_not_its_name(tmp_path, suffix, capsys):
    path = tmp_path / f"out{suffix}"
    path.write_text("of another run")
    with pytest.raises(KeyboardInterrupt), table(path, COLUMNS) as add:
        for row in some_rows(3):
            add(row)
        raise KeyboardInterrupt
    assert path.read_text() == "of another run"
    partial = tmp_path / f"out.partial{suffix}"
    assert read(partial) == some_rows(3)
    assert capsys.readouterr().err == f"The 3 rows so far are in {partial}\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_a_row_leaves_nothing_behind_when_it_ends_early(tmp_path, suffix):
    with pytest.raises(KeyboardInterrupt), table(tmp_path / f"out{suffix}", COLUMNS):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def no_file_above(size):
    """As if the disk were full once a file has that many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [200, 201, 230, 256])
def test_on_a_full_disk_the_rows_before_are_a_whole_table(tmp_path, suffix, room):
    path, added = tmp_path / f"out{suffix}", 0
    with table(path, COLUMNS) as add, no_file_above(room):
        with pytest.raises(UserError, match=rf"out{suffix} cannot be written \(File too") as error:
            for row in some_rows(20):
                add(row)
                added += 1
        with pytest.raises(UserError):
            add(some_rows(20)[added] | {"file": "longer" * 50})
    assert 2 < added < 20
    assert read(unfinished(path)) == some_rows(added)
    assert str(error.value).endswith(f"the {added} rows before are in {unfinished(path)}")
    assert not path.exists()


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_disk_without_room_for_the_beginning_is_said_and_nothing_left(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with pytest.raises(UserError, match="make room"), no_file_above(1), table(path, COLUMNS):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_of_the_longest_name_can_be_written(tmp_path, suffix):
    path = tmp_path / ("é" * 123 + "x" * (9 - len(suffix)) + suffix)
    assert len(os.fsencode(path.name)) == 255
    with table(path, COLUMNS) as add:
        add(some_rows(1)[0])
    assert read(path) == some_rows(1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out.csv"
    with pytest.raises(UserError, match=r"out\.csv cannot be written"), table(path, COLUMNS):
        pass


def test_a_closed_terminal_is_not_taken_for_a_fault_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError), table(tmp_path / "out.csv", COLUMNS):
        raise BrokenPipeError
