import threading

import pytest

from lib.system.prefetching import begun, prefetched


def test_results_come_in_the_order_of_their_arguments():
    later = threading.Event()

    def function(number):
        if number == 0:
            assert later.wait(10)  # the next one is computed meanwhile
        else:
            later.set()
        return 10 * number

    assert list(prefetched(function, range(5))) == [0, 10, 20, 30, 40]


def test_arguments_are_taken_as_results_are_asked_for_by_the_callers_own_thread():
    taken = []

    def arguments():
        for number in range(100):
            taken.append(threading.current_thread())
            yield number

    results = prefetched(lambda number: number, arguments())
    assert taken == []
    next(results)
    assert len(taken) == 3
    assert set(taken) == {threading.current_thread()}
    results.close()
    assert len(taken) == 3


def test_nothing_gives_nothing():
    assert list(prefetched(lambda number: number, [])) == []


def test_an_error_comes_in_the_place_of_its_result_and_leaves_no_thread_behind():
    before = threading.active_count()
    results = prefetched(lambda number: 1 // (number - 1), range(5))
    assert next(results) == -1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before


def test_what_is_begun_is_computed_before_it_is_asked_for_and_comes_in_its_order():
    computed = [threading.Event() for _ in range(9)]

    def function(number):
        computed[number].set()
        return 10 * number

    results = begun(function, range(9))
    assert all(each.wait(10) for each in computed)
    assert list(results) == [10 * number for number in range(9)]


def test_what_is_begun_and_not_wanted_any_more_is_not_computed_to_the_end():
    asked, go_on = [], threading.Event()

    def function(number):
        asked.append(number)
        if number > 0:
            assert go_on.wait(10)
        return number

    results = begun(function, range(100), threads=2)
    assert next(results) == 0
    results.close()
    go_on.set()
    assert len(asked) < 100


def test_an_error_of_what_is_begun_comes_in_the_place_of_its_result():
    results = begun(lambda number: 1 // (number - 1), range(5))
    assert next(results) == -1
    with pytest.raises(ZeroDivisionError):
        next(results)
