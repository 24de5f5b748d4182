import numpy as np
import pytest

from benchmarks.choosing import halves, table, worth


def test_each_image_chooses_once_and_scores_once_in_a_halving():
    pairs = list(halves(7, count=3, seed=0))
    assert len(pairs) == 6
    for chooses, scores in pairs:
        assert sorted([*chooses, *scores]) == list(range(7))
    for (one, other), (again, back) in zip(pairs[::2], pairs[1::2], strict=True):
        assert list(one) == list(back) and list(other) == list(again)
    assert list(pairs[0][0]) != list(pairs[2][0])


def test_each_rule_takes_its_epoch_and_gets_that_epochs_figures():
    # Of three epochs the second has the lowest losses, and the last no errors.
    losses = np.array([[0.5] * 8, [0.2] * 8, [0.4] * 8])
    errors = np.array([[1.0] * 8, [1.0] * 8, [0.0] * 8])
    found = worth(losses, errors, count=20, seed=0)
    assert found["last epoch"] == pytest.approx([3, 0.0, 0.4])
    assert found["highest accuracy"] == pytest.approx([3, 0.0, 0.4])
    assert found["lowest loss"] == pytest.approx([2, 1.0, 0.2])


def test_a_run_is_also_taken_as_it_stood_after_earlier_epochs():
    losses, errors = np.array([[0.2] * 4, [0.6] * 4, [0.4] * 4]), np.zeros((3, 4))
    found = worth(losses, errors, count=5, seed=0, ends=2)
    assert found["last epoch"] == pytest.approx([2.5, 0.0, 0.5])
    assert found["lowest loss"] == pytest.approx([1, 0.0, 0.2])


def test_the_highest_of_many_accuracies_promises_more_than_it_keeps():
    random = np.random.Generator(np.random.Philox(0))
    errors = (random.random((50, 400)) < 0.1).astype(float)  # fifty epochs, all equally good
    found = worth(errors, errors, count=50, seed=0)
    chosen = errors[:, :200].mean(axis=1).min()
    assert chosen < 0.07 < found["highest accuracy"][1]


def test_the_table_has_what_a_rule_gains_over_the_last_epoch():
    first = {"last epoch": [9, 0.03, 0.1], "highest accuracy": [4, 0.05, 0.2]}
    second = {"last epoch": [9, 0.02, 0.1], "highest accuracy": [6, 0.03, 0.2]}
    runs = [{**each, "lowest loss": each["last epoch"]} for each in (first, second)]
    rows = table(runs, held_back=0.0).splitlines()
    assert rows[2:4] == [
        "| last epoch | 9.0 | 0.9750 | 0.1000 | +0.0000 (+0.0000 to +0.0000) |",
        # Student's t of one degree of freedom, 12.706, times 0.005 about the mean.
        "| highest accuracy | 5.0 | 0.9600 | 0.2000 | -0.0150 (-0.0785 to +0.0485) |",
    ]
