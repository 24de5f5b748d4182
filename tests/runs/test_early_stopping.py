import pytest

from lib.config import Phase
from lib.runs.early_stopping import best_epoch, epochs_of, is_finished
from lib.runs.history import Epoch


def history(*losses, phase="top", accuracies=None):
    """An evaluation before training, two epochs of the head, and epochs of another phase."""
    names = ["start", "head", "head", *[phase] * len(losses)]
    numbers = zip(
        [0.7, 0.01, 0.6, *losses], [0.5, 0.5, 0.5, *(accuracies or [0.5] * 99)], strict=False
    )
    return [
        Epoch(i, name, 10 * i, *[0.0] * 3, loss, accuracy, 0.0, 0.0)
        for i, (name, (loss, accuracy)) in enumerate(zip(names, numbers, strict=False))
    ]


def top(**options):
    return Phase("top", **{"epochs": 5, **options})


def test_a_phase_is_finished_after_its_epochs():
    assert not is_finished(top(), history(0.1, 0.2, 0.3, 0.4))
    assert is_finished(top(), history(0.1, 0.2, 0.3, 0.4, 0.5))
    assert is_finished(top(epochs=0), history())


def test_epochs_of_other_phases_do_not_count():
    assert not is_finished(top(epochs=1), history())
    assert [row.epoch for row in epochs_of(top(), history(0.1, 0.2))] == [3, 4]


@pytest.mark.parametrize(
    ("losses", "finished"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.6], False),
        ([0.5, 0.6, 0.6], True),
        ([0.5, 0.6, 0.4], False),
        ([0.5, 0.6, 0.4, 0.4], False),
        ([0.5, 0.6, 0.4, 0.4, 0.4], True),
    ],
)
def test_patience_ends_a_phase_after_as_many_epochs_without_a_better_one(losses, finished):
    assert is_finished(top(patience=2, epochs=9), history(*losses)) is finished


def test_a_higher_accuracy_is_better_where_losses_are_equal():
    rising = history(0.5, 0.5, 0.5, accuracies=[0.7, 0.8, 0.9])
    falling = history(0.5, 0.5, 0.5, accuracies=[0.9, 0.8, 0.7])
    assert not is_finished(top(patience=2), rising)
    assert is_finished(top(patience=2), falling)


def test_a_higher_accuracy_at_a_higher_loss_is_not_better():
    assert is_finished(top(patience=2), history(0.5, 0.6, 0.7, accuracies=[0.7, 0.8, 0.9]))


def test_without_patience_a_phase_goes_on():
    assert not is_finished(top(patience=0), history(0.1, 0.9, 0.9, 0.9))


def test_the_best_epoch_has_the_lowest_loss_and_is_the_first_of_equals():
    rows = epochs_of(top(), history(0.6, 0.4, 0.4, 0.5, accuracies=[0.9, 0.6, 0.7, 0.8]))
    assert best_epoch(rows).epoch == 5
    assert best_epoch(epochs_of(top(), history(0.4, 0.4))).epoch == 3
    assert best_epoch([]) is None
