"""Renders figures in a process of its own, one after the other, while this one goes on.

A process and no thread: drawing is Python code, of which a process runs one thread at a time.
"""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from lib.reporting import plots


class Rendered(NamedTuple):
    """A figure as the bytes of PNG files.

    Attributes:
        whole: 1600 pixels wide, for a file.
        halved: 800 pixels wide, for TensorBoard.
        size: of that, width and height in pixels.
    """

    whole: bytes
    halved: bytes
    size: tuple[int, int]


class Renderer:
    """The process that renders, which starts with the first figure and ends with `close`.

    It has a session of its own, so that a Ctrl-C is left to this process, and ends by itself when
    this one is gone.
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        # One, which asks and waits, so that figures are rendered in their order.
        self._asking = ThreadPoolExecutor(1, "rendering")

    def begin(self, figure: Figure) -> Future[Rendered]:
        """Has a figure rendered, which must not be used any more.

        The result raises what rendering does, and ChildProcessError where the process has ended;
        the next figure starts another.
        """
        return self._asking.submit(self._ask, figure)

    def close(self) -> None:
        """Waits until all figures are rendered, and ends the process."""
        self._asking.shutdown()
        self._end()

    def _ask(self, figure: Figure) -> Rendered:
        if self._process is None:
            self._process = _start()
        try:
            pickle.dump(figure, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            code = self._end()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise ChildProcessError(f"its process ended: {how}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with process, contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # which ends it
        return process.returncode


def _start() -> subprocess.Popen:
    surroundings = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        cwd=Path(__file__).parents[2],
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def render(figure: Figure) -> Rendered:
    """Renders a figure here and now."""
    image = plots.rendered(figure)
    halved = Image.fromarray(plots.halved(image))
    return Rendered(plots.png(image), plots.png(halved), halved.size)


def serve() -> None:
    """Renders what comes on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is no answer
    while True:
        try:
            figure = pickle.load(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):  # the other process has closed it, or is gone
            return
        answer: Any
        try:
            answer = render(figure)
        except Exception as error:
            answer = error
        del figure
        pickle.dump(answer, answers)
        answers.flush()
        gc.collect()  # A figure refers to itself, so it would stay while others are drawn.
