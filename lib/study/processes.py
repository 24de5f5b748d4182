"""The processes of a study: `train.py`, each in a session of its own, stopped within seconds."""

import contextlib
import fcntl
import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.config import setting
from lib.errors import UserError
from lib.study.plan import StudyRun
from lib.system.children import end_with_parent
from lib.system.file_lock import try_lock

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "train.py"
# How runs are stopped, and how many seconds each way has: the first signal lets them write a
# checkpoint, the second ends them at once. All is over within five seconds.
_STOPS = ((signal.SIGINT, 3.0), (signal.SIGINT, 0.7), (signal.SIGKILL, 5.0))
_SAID = "train.py: error: "
_TRACEBACK = "Traceback (most recent call last):"
_PROMPT = "$ "  # begins the line of a log that has a start's command
# With these words an error says that it is not of the run's making: no room on the disk.
NOT_ITS_FAULT = "the same command then goes on"


class Processes:
    """Runs that are going on."""

    def __init__(self):
        self._going: list[subprocess.Popen] = []

    def start(self, run: StudyRun) -> subprocess.Popen:
        """Starts a run, or resumes it."""
        run.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, TRAIN, *run.arguments, setting("workdir", run.folder)]
        with open(run.log, "a", encoding="utf-8", errors="surrogateescape") as log:
            cut_short = "\n" if log.tell() else ""
            log.write(f"{cut_short}{_PROMPT}{shlex.join(map(str, command))}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                cwd=run.place if os.path.isdir(run.place) else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C on a terminal reaches a whole session at once, and a second signal would
                # end a run before it has written its checkpoint: it gets one from here alone.
                start_new_session=True,
                # A study that is killed takes its runs with it: they write a checkpoint and end.
                # Safe: there are no threads here.
                preexec_fn=functools.partial(end_with_parent, signal.SIGTERM),
            )
        self._going.append(process)
        return process

    def ended(self, process: subprocess.Popen) -> bool:
        """Whether a process is at its end, by whichever way."""
        if process.poll() is None:
            return False
        with contextlib.suppress(ValueError):
            self._going.remove(process)
        return True

    def stop_all(self) -> None:
        """Ends all that are going on, those that take long before their checkpoint is written."""
        for number, seconds in _STOPS:
            going = [process for process in self._going if process.poll() is None]
            for process in going:
                process.send_signal(number)
            limit = time.monotonic() + seconds
            while going and time.monotonic() < limit:
                time.sleep(0.02)
                going = [process for process in going if process.poll() is None]
            if not going:
                break
        self._going.clear()


def error_of(run: StudyRun, code: int) -> str:
    """What a run has said as it failed at its last start, on one line."""
    lines = run.log.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith(_PROMPT)]
    lines = lines[starts[-1] + 1 if starts else 0 :]
    said = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    if said:
        return said[-1]
    if code > 0 and _TRACEBACK not in lines:  # what it said has found no room
        return f"it ended, and {run.log} does not say why: make room on the disk; {NOT_ITS_FAULT}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {last}"


@contextlib.contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Holds a lock file for this process, and says whether it could: else another one does.

    Args:
        path: of the file.
        wait: whether to wait until it can.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if wait:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield wait or try_lock(file)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; not where it is missing."""
    try:
        with open(path, "a+" if path.exists() else "r") as file:
            return not try_lock(file)
    except FileNotFoundError:
        return False


def check(command_lines: Sequence[Sequence[str]], trainable: bool) -> list[dict]:
    """What command lines of `train.py` add up to, found out in a process of its own.

    Args:
        command_lines: the arguments of each.
        trainable: whether it is found out, too, if they can be trained, which takes seconds.

    Returns:
        See `flags.check.answers`.

    Raises:
        UserError: the check itself does not work.
    """
    # From where the user is, as relative paths are meant from there; but with our own modules.
    program = (
        f"import runpy, sys; sys.path[0] = {str(ROOT)!r};"
        " runpy.run_module('flags.check', run_name='__main__')"
    )
    asked = {"command_lines": [list(line) for line in command_lines], "trainable": trainable}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UserError(f"the flags cannot be checked ({last[0]}): try train.py itself") from None
