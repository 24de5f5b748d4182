"""The progress of work: a bar on a terminal, a plain line now and then elsewhere."""

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from time import monotonic
from typing import TextIO

# How long work is reported: `with progress("decoding", 3000, "images") as advance: advance(1)`.
# The total is 0 where it is not known.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]

REDRAW_SECONDS = 0.1
LOG_SECONDS = 30.0
BAR_WIDTH = 24

# A terminal has one line to draw on, whoever draws: the innermost bar does. Signal handlers say
# things too, on the thread that may hold the lock already, hence the reentrant one.
_lock = threading.RLock()
_bars: list["_Bar"] = []
_texts: deque[tuple[str, TextIO]] = deque()
_writing = False
_muted = False


def mute() -> None:
    """From now on there is no progress, and nothing is said on stdout: another process does."""
    global _muted
    _muted = True


@contextlib.contextmanager
def bar(description: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Shows how far a piece of work is for as long as the block lasts.

    On a terminal one line on stderr is redrawn ten times a second at most, and erased at the end.
    Elsewhere work that lasts leaves a plain line every half minute, and short work none.

        with bar("epoch 3", 63, "batches") as advance:
            advance(1, "loss 0.412")

    Args:
        description: what is being done.
        total: the number of units in all; 0 where it is not known.
        unit: the plural of what is counted; "bytes" are shown as MB.

    Yields:
        `advance(n, note="")`, which counts n more units and may be called from any thread. What its
        first call counts is taken as done before (a resumed download) and left out of the rate.
    """
    work = _Bar(description, total, unit)
    if _muted:
        yield lambda n, note="": None
        return
    with _lock:
        if _bars:
            _bars[-1].erase()
        _bars.append(work)
        work.draw(monotonic())
    try:
        yield work.advance
    finally:
        with _lock:
            work.erase()
            _bars.remove(work)


def say(line: str, stream: TextIO | None = None) -> None:
    """Prints a line at once, above the bar if there is one.

    Characters that the stream cannot encode are escaped: a class name must not end a run.

    Args:
        line: the text, which may be of several lines.
        stream: where to; stdout if not given.
    """
    if _muted and stream is None:
        return
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    with _lock:
        if _bars:
            _bars[-1].erase()
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        _write(f"{line}\n", stream)
        if _bars:
            _bars[-1].draw(monotonic())


def duration(seconds: float) -> str:
    """Puts a time span into words with its two largest units: "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        large, small, names = *divmod(whole, 60), ("min", "s")
    else:
        large, small, names = *divmod(round(whole / 60), 60), ("h", "min")
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")


def _write(text: str, stream: TextIO) -> None:
    """Writes at once, or, called by a signal handler in the middle of a write, right after it.

    A stream raises RuntimeError where a write interrupts another. To be called under the lock.
    """
    global _writing
    _texts.append((text, stream))
    while _texts and not _writing:
        _writing = True
        try:
            if _texts:  # A handler that came just before may have written them.
                text, stream = _texts.popleft()
                stream.write(text)
                stream.flush()
        finally:
            _writing = False


class _Bar:
    def __init__(self, description: str, total: int, unit: str):
        self.description = description
        self.total, self.unit, self.scale = total, unit, 1.0
        if unit == "bytes":
            self.unit, self.scale = "MB", 1e-6
        self.done = 0
        self.note = ""
        self.first: tuple[float, int] | None = None  # When the first call came, what it counted.
        self.shown = monotonic()
        self.on_screen = 0  # Characters of this bar on the terminal's line.

    def advance(self, n: int, note: str = "") -> None:
        with _lock:
            now = monotonic()
            self.done += n
            self.note = note
            self.first = self.first or (now, self.done)
            if self in _bars[-1:]:
                self.draw(now)

    def draw(self, now: float) -> None:
        terminal = sys.stderr.isatty()
        # A terminal's line that was erased (for a line of text, say) is drawn again at once.
        blank = terminal and not self.on_screen
        if not blank and now - self.shown < (REDRAW_SECONDS if terminal else LOG_SECONDS):
            return
        self.shown = now
        if not terminal:
            _write(f"{self.status(now)}\n", sys.stderr)
            return
        # The last column stays empty: some terminals wrap as soon as it is written.
        room = _columns() - 1
        line = self.status(now, room)[:room]
        before, self.on_screen = self.on_screen, len(line)
        _write("\r" + line.ljust(before), sys.stderr)

    def erase(self) -> None:
        if self.on_screen:
            _write("\r" + " " * self.on_screen + "\r", sys.stderr)
            self.on_screen = 0

    def status(self, now: float, room: int = 0) -> str:
        """One line, with a drawn bar in what is left of `room` characters."""
        count = _number(self.done * self.scale)
        if self.total:
            count = f"{min(self.done * 100 // self.total, 100):3d} %  {count}"
            count += f"/{_number(self.total * self.scale)}"
        began, before = self.first or (now, self.done)
        if self.done > before and now > began:
            rate = (self.done - before) / (now - began)
            parts = [count, f"{_number(rate * self.scale)} {self.unit}/s"]
            if self.total > self.done:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        else:
            parts = [f"{count} {self.unit}"]
        if self.note:
            parts.append(self.note)
        text = "  ".join(parts)
        width = min(BAR_WIDTH, room - len(self.description) - len(text) - 3)
        if self.total and width > 0:
            filled = width * min(self.done, self.total) // self.total
            text = "█" * filled + "░" * (width - filled) + " " + text
        return f"{self.description}  {text}"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 and value != int(value) else f"{value:.0f}"


def _columns() -> int:
    try:
        # Of stderr, where the bar is: stdout may well be a pipe.
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
