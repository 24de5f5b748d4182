import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib.system.children import Children

ROOT = Path(__file__).parents[2]
# Ends with its parent, but not at once.
LISTENS = "import sys, time; print('here', flush=True); sys.stdin.read(); print('last words')"
DEAF = "import time; print('here', flush=True); time.sleep(600)"


class Listener:
    """What children do, as the process hears of it."""

    def __init__(self):
        self.ended = []
        self.heard = threading.Event()

    def __call__(self, *told):
        self.ended.append(told)
        self.heard.set()


def start(code, *names, grace=0.5):
    children, listener = Children(grace), Listener()
    children.start([sys.executable, "-c", code], {each: {"NAME": each} for each in names}, listener)
    return children, listener


def wait_for(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < ends:
        time.sleep(0.02)
    return found


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize(
    ("last", "how", "code"),
    [("sys.exit(3)", "exit code 3", 3), ("os.kill(os.getpid(), 9)", "SIGKILL", -9)],
)
def test_who_ends_by_itself_is_named_with_how_and_what_it_said(capfd, last, how, code):
    says = f"import os, sys; print(os.environ['NAME'], 'says', flush=True); {last}"
    children, listener = start(says, "one", grace=0.05)
    assert listener.heard.wait(60) and listener.ended == [("one", how, code)]
    children.end()
    assert capfd.readouterr().err == "[one] one says\n"


def test_those_who_are_told_to_end_have_time_for_last_words(capfd):
    children, listener = start(LISTENS, "one", "two", grace=30)
    children.end()
    said = ["[one] here", "[one] last words", "[two] here", "[two] last words"]
    assert sorted(capfd.readouterr().err.splitlines()) == said
    assert listener.ended == []


def test_those_who_do_not_end_are_killed():
    children, listener = start(DEAF, "one", grace=0.1)
    (process,) = children._processes.values()
    children.end()
    assert process.returncode == -signal.SIGKILL and listener.ended == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for what Linux alone does")
@pytest.mark.parametrize("frozen", [False, True])
def test_even_a_frozen_one_ends_with_a_parent_that_is_killed(frozen):
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    program = (
        "import sys, time; from lib.system.children import Children;"
        f" Children(1).start([sys.executable, '-c', {child!r}], {{'one': {{}}}}, print);"
        " time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    pid = int(parent.stderr.readline().removeprefix("[one] "))
    if frozen:
        os.kill(pid, signal.SIGSTOP)
        assert wait_for(lambda: state_of(pid) == "T")
    parent.kill()
    parent.communicate()
    assert wait_for(lambda: state_of(pid) in ("", "Z"))
