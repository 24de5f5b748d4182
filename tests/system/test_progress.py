import io
import re
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.system import progress


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    # One screen for both streams, as for a person. The module's own `sys` is replaced since pytest
    # puts its streams into the real one before each test.
    screen = Stream(terminal=True)
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=screen, stderr=screen))
    return screen


@pytest.fixture
def log(monkeypatch):
    log = Stream(terminal=False)
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=log, stderr=log))
    return log


def rows(text):
    """What a terminal shows after `text`: a carriage return goes back, letters overwrite."""
    shown = []
    for line in text.split("\n"):
        row = []
        for part in line.split("\r"):
            row[: len(part)] = part
        shown.append("".join(row).rstrip())
    return shown


def test_a_terminal_shows_description_share_count_rate_time_left_and_note(terminal, clock):
    with progress.bar("epoch 3", 63, "batches") as advance:
        advance(1)
        clock.now += 2
        advance(20, "loss 0.412")
        (line,) = rows(terminal.getvalue())
    assert re.fullmatch(r"epoch 3  █+░+  33 %  21/63  10 batches/s  4 s left  loss 0.412", line)


def test_the_bar_is_there_before_the_first_unit_is_done(terminal, clock):
    with progress.bar("epoch 1", 63, "batches"):
        (line,) = rows(terminal.getvalue())
    assert re.fullmatch(r"epoch 1  ░+   0 %  0/63 batches", line)


def test_bytes_are_shown_as_megabytes(terminal, clock):
    with progress.bar("downloading", 68_606_236, "bytes") as advance:
        advance(0)
        clock.now += 4
        advance(10_000_000)
        (line,) = rows(terminal.getvalue())
    assert "14 %  10/69  2.5 MB/s  23 s left" in line


def test_what_the_first_call_counts_was_done_before_and_is_left_out_of_the_rate(terminal, clock):
    with progress.bar("downloading", 100, "files") as advance:
        advance(50)
        clock.now += 10
        advance(10)
        (line,) = rows(terminal.getvalue())
    assert "60/100  1 files/s  40 s left" in line


def test_an_unknown_total_leaves_out_the_bar_the_percentage_and_the_time_left(terminal, clock):
    with progress.bar("unpacking", 0, "files") as advance:
        advance(1)
        clock.now += 1
        advance(7)
        assert rows(terminal.getvalue()) == ["unpacking  8  7 files/s"]


def test_more_than_the_total_is_still_one_full_bar(terminal, clock):
    with progress.bar("unpacking", 2, "files") as advance:
        advance(1)
        clock.now += 1
        advance(4)
        (line,) = rows(terminal.getvalue())
    assert "100 %" in line and "░" not in line and "left" not in line


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_nothing_of_the_bar_stays_on_the_line_when_the_work_ends_or_fails(terminal, clock, error):
    try:
        with progress.bar("epoch 3", 63, "batches") as advance:
            advance(3, "a long note that goes away")
            clock.now += 1
            advance(3, "short")
            if error:
                raise error
    except RuntimeError:
        pass
    assert rows(terminal.getvalue()) == [""]


def test_a_shorter_line_leaves_nothing_of_a_longer_one(terminal, clock):
    with progress.bar("unpacking", 0, "files") as advance:
        clock.now += 1
        advance(1, "a long note that goes away")
        clock.now += 1
        advance(1)
        assert rows(terminal.getvalue()) == ["unpacking  2  1 files/s"]


def test_the_line_is_redrawn_ten_times_a_second_at_most(terminal, clock):
    with progress.bar("decoding", 3000, "images") as advance:
        for _ in range(3000):
            clock.now += 0.001
            advance(1)
    assert 25 <= terminal.getvalue().count("decoding") <= 31


@given(st.integers(min_value=1, max_value=60), st.text("wide note", min_size=20, max_size=300))
def test_a_line_never_wraps(width, note):
    with pytest.MonkeyPatch.context() as patch:
        screen = Stream(terminal=True)
        patch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
        patch.setattr(progress, "_columns", lambda: width)
        with progress.bar("a description", 10, "images") as advance:
            advance(1, note)
    assert all(len(line) < max(width, 1) for line in screen.getvalue().split("\r"))


def test_on_a_narrow_terminal_the_drawing_gives_way_to_the_words(terminal, clock, monkeypatch):
    monkeypatch.setattr(progress, "_columns", lambda: 72)
    with progress.bar("epoch 12 (finetune)", 63, "batches") as advance:
        advance(1)
        clock.now += 2
        advance(20, "loss 0.412")
        (line,) = rows(terminal.getvalue())
    assert "21/63  10 batches/s  4 s left  loss" in line and "█" not in line


def test_a_line_said_during_a_bar_stands_above_it(terminal, clock):
    with progress.bar("epoch 3", 63, "batches") as advance:
        advance(1)
        progress.say("checkpoint at step 50")
        said, line = rows(terminal.getvalue())
    assert said == "checkpoint at step 50"
    assert line.startswith("epoch 3")
    assert rows(terminal.getvalue()) == ["checkpoint at step 50", ""]


def test_an_inner_bar_takes_the_line_and_gives_it_back(terminal, clock):
    with progress.bar("epoch 3", 63, "batches") as outer:
        outer(1)
        with progress.bar("validation", 32, "batches") as inner:
            inner(1)
            outer(1)
            assert rows(terminal.getvalue())[0].startswith("validation")
        outer(1)
        (line,) = rows(terminal.getvalue())
    assert line.startswith("epoch 3") and "3/63" in line


def test_elsewhere_short_work_leaves_no_trace(log, clock):
    with progress.bar("epoch 3", 63, "batches") as advance:
        for _ in range(63):
            clock.now += 0.4
            advance(1)
    assert log.getvalue() == ""


def test_elsewhere_long_work_leaves_a_plain_line_every_half_minute(log, clock):
    with progress.bar("epoch 3", 100, "batches") as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    assert log.getvalue().splitlines() == [
        "epoch 3   30 %  30/100  1 batches/s  1 min 10 s left",
        "epoch 3   60 %  60/100  1 batches/s  40 s left",
        "epoch 3   90 %  90/100  1 batches/s  10 s left",
    ]


def test_elsewhere_there_are_no_control_characters(log, clock):
    with progress.bar("epoch 3", 9, "batches") as advance:
        for _ in range(9):
            clock.now += 31
            advance(1, "loss 0.4")
            progress.say("a line")
    text = log.getvalue()
    assert "a line" in text and "epoch 3" in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_threads_may_advance_one_bar_together(terminal):
    with progress.bar("decoding", 800, "images") as advance:
        threads = [
            threading.Thread(target=lambda: [advance(1) for _ in range(100)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        progress.say("")  # What follows is drawn anew.
        assert "800/800" in rows(terminal.getvalue())[-1]


def test_a_thread_that_is_late_draws_nothing_on_a_line_given_back(terminal, clock):
    with progress.bar("decoding", 800, "images") as advance:
        pass
    clock.now += 1
    advance(1)
    assert rows(terminal.getvalue()) == [""]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_line_said_by_a_signal_handler_in_the_middle_of_a_write_comes_after_it(
    monkeypatch, is_terminal
):
    class Interrupted(Stream):
        writing = False
        handled = False

        def write(self, text):
            if self.writing:
                raise RuntimeError("reentrant call")
            self.writing = True
            if not self.handled:
                self.handled = True
                progress.say("a signal came")
            self.writing = False
            return super().write(text)

    screen = Interrupted(is_terminal)
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=screen, stderr=screen))
    progress.say("a line")
    assert screen.getvalue() == "a line\na signal came\n"
    screen.handled = False
    with progress.bar("epoch 3", 63, "batches"):
        progress.say("another")
    shown = rows(screen.getvalue())
    assert shown.count("a signal came") == 2 and shown.count("another") == 1


def test_a_write_that_fails_leaves_nothing_behind_for_the_next(monkeypatch):
    class Full(Stream):
        def write(self, text):
            raise OSError("no space left")

    screen = Stream(terminal=False)
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=screen, stderr=screen))
    with pytest.raises(OSError):
        progress.say("lost", Full(terminal=False))
    progress.say("a line")
    assert screen.getvalue() == "a line\n"


def test_what_stdout_cannot_encode_is_escaped(monkeypatch):
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=latin))
    progress.say("Kätzchen 猫")
    assert latin.buffer.getvalue() == "Kätzchen \\u732b\n".encode("latin-1")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_durations_are_put_into_words(seconds, words):
    assert progress.duration(seconds) == words


@given(st.floats(min_value=0, max_value=1e7))
def test_a_duration_is_off_by_half_of_its_smallest_unit_at_most(seconds):
    units = {"s": 1, "min": 60, "h": 3600}
    parts = re.findall(r"(\d+) (\w+)", progress.duration(seconds))
    value = sum(int(number) * units[unit] for number, unit in parts)
    assert abs(value - seconds) <= (30.5 if seconds >= 3599 else 0.5)
