import socket
import threading
import time

import pytest

from lib.distribution.cluster import Cluster
from lib.distribution.meeting import Meeting
from lib.errors import UserError
from lib.system.sockets import free_addresses


def meet(all_facts, seconds=10.0, known=("known",)):
    """What each worker comes to: what the chief knows, or an error."""
    places = free_addresses(len(all_facts))
    results = {}

    def come(index, facts):
        try:
            meeting = Meeting(Cluster(tuple(places), index))
            results[index] = meeting.hold(facts, known[0], seconds)
        except UserError as error:
            results[index] = str(error)

    threads = [
        threading.Thread(target=come, args=(index, facts))
        for index, facts in reversed(list(enumerate(all_facts)))
        if facts is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, places


def test_all_learn_what_the_chief_knows():
    known = {"slices": 4, "run": None}
    results, _ = meet([{"--seed": 0}] * 3, known=(known,))
    assert results == dict.fromkeys(range(3), known)


def test_a_worker_that_trains_something_else_is_named_to_all():
    facts = [{"--seed": 0, "keras": "3"}, {"--seed": 0, "keras": "3"}, {"--seed": 3, "keras": "2"}]
    results, places = meet(facts)
    expected = f"worker 2 ({places[2]}) trains something else: it has --seed 3, the chief 0; keras"
    assert all(expected in result for result in results.values())


def test_a_worker_that_does_not_come_is_named_to_all():
    results, places = meet([{}, {}, None], seconds=1.0)
    expected = f"1 of 3 workers did not come: worker 2 ({places[2]})"
    assert results == {0: expected, 1: expected}


def test_without_a_chief_the_others_say_so():
    results, places = meet([None, {}], seconds=0.5)
    assert f"the chief at {places[0]} cannot be reached" in results[1]


def test_a_chief_that_ends_before_all_have_come_ends_the_waiting():
    places = free_addresses(3)
    meeting = Meeting(Cluster(tuple(places), 0))
    caught = []

    def come():
        with pytest.raises(UserError) as error:
            Meeting(Cluster(tuple(places), 1)).hold({}, None, 60.0)
        caught.append(str(error.value))

    thread = threading.Thread(target=come)
    thread.start()
    time.sleep(0.5)
    meeting._server.close()
    thread.join(10)
    assert "ended before all workers had come" in caught[0] or "cannot be reached" in caught[0]


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_taken_is_said_at_once(index):
    places = free_addresses(2)
    with socket.socket() as other:
        other.bind(("", int(places[index].rpartition(":")[2])))
        other.listen()
        with pytest.raises(UserError, match=rf"port \d+ of worker {index} .* is taken"):
            Meeting(Cluster(tuple(places), index))


def test_who_is_no_worker_does_not_disturb():
    places = free_addresses(2)
    results = {}

    def come(index):
        results[index] = Meeting(Cluster(tuple(places), index)).hold({}, 1, 10.0)

    chief = threading.Thread(target=come, args=(0,))
    chief.start()
    for text in (b"GET / HTTP/1.0\r\n\r\n", b"[]\n", b"{}\n", b""):
        time.sleep(0.1)
        with socket.create_connection(("localhost", int(places[0].rpartition(":")[2]))) as link:
            link.sendall(text)
    come(1)
    chief.join()
    assert results == {0: 1, 1: 1}
