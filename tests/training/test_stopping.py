import os
import signal

import pytest

from lib.errors import Stopped
from lib.training.stopping import StopRequest

# As shells have it.
CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def deferring():
    stop = StopRequest()
    stop.listen()
    stop.defer()
    return stop


def test_signals_are_left_alone_until_it_listens():
    before = signal.getsignal(signal.SIGINT)
    StopRequest().defer()
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_the_work_goes_on():
    deferring().raise_if_requested()


@pytest.mark.parametrize(("number", "code"), CODES)
def test_as_long_as_nothing_can_be_lost_a_signal_ends_the_program_where_it_is(number, code, capsys):
    StopRequest().listen()
    with pytest.raises(SystemExit) as end:
        os.kill(os.getpid(), number)
    assert end.value.code == code
    line = f"Stopped by {number.name}: the same command goes on from here\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(("number", "code"), CODES)
def test_later_a_signal_waits_until_stopping_is_safe(number, code):
    stop = deferring()
    os.kill(os.getpid(), number)  # does nothing by itself
    with pytest.raises(Stopped, match=number.name) as stopped:
        stop.raise_if_requested()
    assert stopped.value.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_of_either_kind_is_left_to_the_system(number):
    deferring()
    os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
