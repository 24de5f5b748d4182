import signal

import pytest

from lib.system import fault_points


@pytest.fixture
def armed(monkeypatch):
    """A function that arms places, in this process."""

    def arm(setting: str, trace=None) -> None:
        monkeypatch.setattr(fault_points, "_FAULTS", fault_points._armed(setting))
        monkeypatch.setattr(fault_points, "_TRACE", trace)
        monkeypatch.setattr(fault_points, "_WATCHED", True)

    return arm


def test_nothing_happens_where_nothing_is_armed():
    assert not fault_points._WATCHED
    fault_points.point("step")


def test_the_system_refuses_at_the_arrival_asked_for_and_at_no_other(armed):
    armed("write:*.png@2=ENOSPC")
    fault_points.point("write:curves.png")
    fault_points.point("write:history.csv")
    with pytest.raises(OSError, match="No space left on device"):
        fault_points.point("write:confusion.png")
    fault_points.point("write:curves.png")


def test_a_signal_is_sent_to_this_very_process(armed):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        armed("step=SIGTERM")
        fault_points.point("step")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_each_of_several_has_its_own_place(armed):
    armed("a=EIO,b@2=EROFS")
    with pytest.raises(OSError, match="Input/output error"):
        fault_points.point("a")
    fault_points.point("b")
    with pytest.raises(OSError, match="Read-only file system"):
        fault_points.point("b")


def test_the_trace_has_each_place_in_order(armed, tmp_path):
    armed("", trace=tmp_path / "trace")
    for place in ("step", "evaluation", "step"):
        fault_points.point(place)
    assert (tmp_path / "trace").read_text() == "step\nevaluation\nstep\n"
