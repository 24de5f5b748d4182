import signal

import pytest

from lib import faults


@pytest.fixture
def armed(monkeypatch):
    """A function that arms places, in this process."""

    def arm(setting: str, trace=None) -> None:
        monkeypatch.setattr(faults, "_FAULTS", faults._armed(setting))
        monkeypatch.setattr(faults, "_TRACE", trace)
        monkeypatch.setattr(faults, "_WATCHED", True)

    return arm


def test_nothing_happens_where_nothing_is_armed():
    assert not faults._WATCHED
    faults.point("step")


def test_the_system_refuses_at_the_arrival_asked_for_and_at_no_other(armed):
    armed("write:*.png@2=ENOSPC")
    faults.point("write:curves.png")
    faults.point("write:history.csv")
    with pytest.raises(OSError, match="No space left on device"):
        faults.point("write:confusion.png")
    faults.point("write:curves.png")


def test_a_signal_is_sent_to_this_very_process(armed):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        armed("step=SIGTERM")
        faults.point("step")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_each_of_several_has_its_own_place(armed):
    armed("a=EIO,b@2=EROFS")
    with pytest.raises(OSError, match="Input/output error"):
        faults.point("a")
    faults.point("b")
    with pytest.raises(OSError, match="Read-only file system"):
        faults.point("b")


def test_the_trace_has_each_place_in_order(armed, tmp_path):
    armed("", trace=tmp_path / "trace")
    for place in ("step", "evaluation", "step"):
        faults.point(place)
    assert (tmp_path / "trace").read_text() == "step\nevaluation\nstep\n"
