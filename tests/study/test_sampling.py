"""Which points a search chooses: Optuna over formulas, in this process."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.study.plan import Plan
from lib.study.search import Search, number_of
from lib.study.space import parse

SPACE = "rate=log(1e-6, 1e-2); dropout=uniform(0, 0.5); kind=a|b; depth=int(1, 3)"

IN_MEMORY = "sqlite://"

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def plan(**given):
    return Plan(place="", arguments=(), flags={"seed": 3}, space=SPACE, **given)


def known(values):
    loss = abs(math.log10(values["rate"]) + 3) + 0.05 * values["dropout"]
    return {"validation_loss": [loss], "validation_accuracy": [0.5]}


def searched(folder, count, reverse=False, at_once=0, **given):
    """Carries out trials, as many at a time as there are jobs or fewer, and in a strange order."""
    folder.mkdir()
    asked = plan(**given)
    search = Search(folder, asked, parse(SPACE), IN_MEMORY)
    search.prepare(count)
    side_by_side = at_once or asked.jobs
    for first in range(0, count, side_by_side):
        going = [search.begin() for _ in range(first, min(count, first + side_by_side))]
        values = [search.values(frozen) for frozen in going]
        for frozen, found in sorted(
            zip(going, values, strict=True), key=lambda each: each[0].number, reverse=reverse
        ):
            search.complete(frozen, known(found))
    return search


def points(search):
    return [(number_of(each), each.params) for each in search.trials()]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("long") / "study", 40)


def test_the_same_study_chooses_the_same_points_and_another_seed_others(tmp_path):
    one, two = (searched(tmp_path / name, 12) for name in "ab")
    assert points(one) == points(two)
    (tmp_path / "c").mkdir()
    other = Search(tmp_path / "c", Plan("", (), {"seed": 4}, space=SPACE), parse(SPACE), IN_MEMORY)
    other.prepare(1)
    assert other.values(other.begin()) != points(one)[0][1]


def test_what_ends_first_has_no_say_where_some_go_on_side_by_side(tmp_path):
    one = searched(tmp_path / "a", 14, jobs=2)
    two = searched(tmp_path / "b", 14, jobs=2, reverse=True)
    three = searched(tmp_path / "c", 14, jobs=2, at_once=1)
    assert points(one) == points(two) == points(three)


def test_later_trials_learn_from_the_earlier_ones(long):
    ratings = [each.value for each in long.trials()]
    assert sum(ratings[-15:]) / 15 < sum(ratings[:10]) / 10 - 0.3


def test_what_matters_is_found_to_matter(long):
    shares = long.importances()
    assert max(shares, key=shares.get) == "rate"
    assert sum(shares.values()) == pytest.approx(1)


def test_values_are_of_their_kinds_and_ranges(long):
    for _, values in points(long):
        assert 1e-6 <= values["rate"] <= 1e-2 and 0 <= values["dropout"] <= 0.5
        assert values["kind"] in ("a", "b") and values["depth"] in (1, 2, 3)


@pytest.mark.parametrize(
    ("objective", "better"), [("validation_loss", -1), ("validation_accuracy", 1)]
)
def test_a_trial_that_does_worse_than_most_is_given_up_and_only_these(tmp_path, objective, better):
    (tmp_path / "study").mkdir()
    search = Search(tmp_path / "study", plan(objective=objective), parse(SPACE), IN_MEMORY)
    search.prepare(8)
    for number in range(6):
        frozen = search.begin()
        search.values(frozen)
        assert not search.report(frozen, {1: 0.5 + 0.01 * better * number})
        search.complete(frozen, {objective: [0.6 + 0.01 * better * number]})
        assert bool(search.importances()) == (number >= 3)  # of fewer nothing can be said
    good, bad = search.begin(), search.begin()
    assert not search.report(good, {1: 0.5 + 0.05 * better})
    assert search.report(bad, {1: 0.5 + 0.01 * better})
    search.prune(bad, "epoch 1")
    assert search.trials()[-1].state.name == "PRUNED"


def test_of_two_that_take_the_last_trial_at_once_one_gets_none_and_there_is_no_more_of_them(
    tmp_path,
):
    (tmp_path / "study").mkdir()
    search = Search(tmp_path / "study", plan(), parse(SPACE), IN_MEMORY)
    search.prepare(1)
    assert search.begin() is not None and search.begin() is None
    assert len(search.trials()) == 1 and search.next_number() is None


def test_a_trial_that_a_dead_worker_left_is_handed_on_under_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.study.search._GRACE", 1)
    monkeypatch.setattr("lib.study.search._HEARTBEAT", 1)
    (tmp_path / "study").mkdir()
    url = f"sqlite:///{tmp_path}/shared.db"
    dead = Search(tmp_path / "study", plan(), parse(SPACE), url)
    dead.prepare(3)
    left = dead.begin()
    values = dead.values(left)
    alive = Search(tmp_path / "study", plan(), parse(SPACE), url)
    assert alive.next_number() == 1
    assert not alive.orphans(lambda number: None)  # as that worker may be on another machine
    time.sleep(2.5)
    assert alive.others_at_work()
    begun = []
    while (number := alive.next_number()) is not None:
        begun.append(alive.begin())
        assert number_of(begun[-1]) == number
    assert [number_of(each) for each in begun] == [1, 2, 0]
    taken = begun[-1]
    assert alive.values(taken) == values
    alive.complete(taken, {"validation_loss": [1.0]})
    assert [number_of(each) for each in alive.trials()] == [0, 1, 2]
    dead.complete(left, {"validation_loss": [2.0]})  # wakes up too late
    assert alive.trials()[0].value == 1.0


def test_several_that_begin_a_study_at_the_same_moment_are_not_in_each_others_way(tmp_path):
    barrier = threading.Barrier(4)

    def begin(_):
        barrier.wait()
        return Search(tmp_path, plan(), parse(SPACE)).trials()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [[]] * 4
