import socket

import pytest

from lib.system.sockets import call, listen, receive, send


@pytest.fixture
def pair():
    with listen(0, 1) as server, call(f"localhost:{server.getsockname()[1]}", 5.0) as here:
        there = server.accept()[0]
        with there:
            yield here, there


def test_what_is_sent_arrives_and_is_answered(pair):
    here, there = pair
    send(here, {"index": 1, "names": ["ä", None]})
    assert receive(there) == {"index": 1, "names": ["ä", None]}
    send(there, [])
    assert receive(here) == []


def test_what_is_closed_has_nothing_to_say(pair):
    here, there = pair
    here.close()
    with pytest.raises(ValueError):
        receive(there)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has times of its own")
def test_both_sides_notice_within_ten_seconds_that_the_other_cannot_be_reached(pair):
    for each in pair:
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, count = (each.getsockopt(socket.IPPROTO_TCP, one) for one in options)
        assert idle + interval * count <= 10


def test_nobody_who_listens_is_an_error_in_time():
    with listen(0, 1) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError):
        call(f"localhost:{port}", 0.3)
