import pytest

from lib.config import Phase
from lib.runs.early_stopping import best_epoch, epochs_of, is_finished
from lib.runs.history import Epoch


def history(*accuracies, phase="top", losses=None):
    """An evaluation before training, two epochs of the head, and epochs of another phase."""
    names = ["start", "head", "head", *[phase] * len(accuracies)]
    numbers = zip(
        [0.5, 0.99, 0.6, *accuracies], [1.0, 1.0, 1.0, *(losses or [1.0] * 99)], strict=False
    )
    return [
        Epoch(i, name, 10 * i, *[0.0] * 3, loss, accuracy, 0.0, 0.0)
        for i, (name, (accuracy, loss)) in enumerate(zip(names, numbers, strict=False))
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
    ("accuracies", "finished"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.4], True),
        ([0.5, 0.4, 0.6], False),
        ([0.5, 0.4, 0.6, 0.6], False),
        ([0.5, 0.4, 0.6, 0.6, 0.6], True),
    ],
)
def test_patience_ends_a_phase_after_as_many_epochs_without_a_better_one(accuracies, finished):
    assert is_finished(top(patience=2, epochs=9), history(*accuracies)) is finished


def test_a_lower_loss_is_better_where_accuracies_are_equal():
    falling = history(0.5, 0.5, 0.5, losses=[1.0, 0.9, 0.8])
    rising = history(0.5, 0.5, 0.5, losses=[1.0, 1.1, 1.2])
    assert not is_finished(top(patience=2), falling)
    assert is_finished(top(patience=2), rising)


def test_without_patience_a_phase_goes_on():
    assert not is_finished(top(patience=0), history(0.9, 0.1, 0.1, 0.1))


def test_the_best_epoch_is_the_most_accurate_and_the_first_of_equals():
    rows = epochs_of(top(), history(0.4, 0.6, 0.6, 0.5, losses=[1.0, 0.8, 0.7, 0.1]))
    assert best_epoch(rows).epoch == 5
    assert best_epoch(epochs_of(top(), history(0.6, 0.6))).epoch == 3
    assert best_epoch([]) is None
