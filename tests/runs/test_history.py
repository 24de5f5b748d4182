import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.runs.history import Epoch, phase_starts, read_history, write_history

numbers = st.floats() | st.floats(width=32).map(np.float32)
epochs = st.builds(
    Epoch,
    epoch=st.integers(0, 10**6),
    phase=st.sampled_from(["start", "head", "finetune"]),
    step=st.integers(0, 10**12),
    **{field.name: numbers for field in dataclasses.fields(Epoch) if field.type is float},
)
START = Epoch(0, "start", 0, math.nan, math.nan, math.nan, 0.85, 0.45, math.nan, 8.25)
FIRST = Epoch(1, "head", 63, 1e-4, 0.1 + 0.2, 0.75, 0.5, 0.8, 101.5, 20.0)


def same(left, right):
    return all(
        a == b or (a != a and b != b)
        for a, b in zip(dataclasses.astuple(left), dataclasses.astuple(right), strict=True)
    )


def test_a_phase_starts_with_the_last_epoch_of_the_one_before():
    second, third = (dataclasses.replace(FIRST, epoch=n) for n in (2, 3))
    history = [START, FIRST, second, dataclasses.replace(third, phase="finetune")]
    assert phase_starts(history) == [(0, "head"), (2, "finetune")]


@given(st.lists(epochs, max_size=5))
def test_every_number_comes_back_as_it_was(tmp_path_factory, history):
    path = tmp_path_factory.mktemp("run") / "history.csv"
    write_history(path, history)
    read = read_history(path)
    assert len(read) == len(history)
    assert all(map(same, read, history))
    assert all(type(epoch.step) is int and type(epoch.train_loss) is float for epoch in read)


def test_the_file_is_a_table_with_empty_cells_for_what_was_not_measured(tmp_path):
    write_history(tmp_path / "history.csv", [START, FIRST])
    assert (tmp_path / "history.csv").read_bytes().decode() == (
        "epoch,phase,step,learning_rate,train_loss,train_accuracy,"
        "validation_loss,validation_accuracy,images_per_second,seconds\n"
        "0,start,0,,,,0.85,0.45,,8.25\n"
        "1,head,63,0.0001,0.30000000000000004,0.75,0.5,0.8,101.5,20.0\n"
    )


def test_a_write_that_fails_leaves_the_old_table(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [START])
    before = path.read_bytes()

    def broken():
        yield FIRST
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_history(path, broken())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("epoch,phase", "epoch;phase", 1),
        ("0.75,", "", 3),
        ("0.75", "three quarters", 3),
        ("1,head", "1.5,head", 3),
    ],
)
def test_an_edited_table_is_refused_with_the_line_in_question(tmp_path, old, new, line):
    path = tmp_path / "history.csv"
    write_history(path, [START, FIRST])
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"history\.csv, line {line}: .*expected the columns"):
        read_history(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "history.csv").touch()
    with pytest.raises(UserError, match="line 1"):
        read_history(tmp_path / "history.csv")


def test_the_evaluation_before_training_is_of_validation_alone():
    row = Epoch.untrained(0.9, 0.4)
    assert (row.epoch, row.phase, row.step) == (0, "start", 0)
    assert (row.validation_loss, row.validation_accuracy) == (0.9, 0.4)
    assert math.isnan(row.train_loss) and math.isnan(row.train_accuracy)
