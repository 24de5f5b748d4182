import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `PyDLL` keeps Python's lock for as long as the function takes.
PROGRAM = """
import ctypes, sys, threading, time
from lib.system.deadline import ends_within

seconds, needed = map(float, sys.argv[1:])
threading.Thread(target=time.sleep, args=(0.01,)).start()
with ends_within(seconds, "it does not answer"):
    ctypes.PyDLL(None).usleep(int(1e6 * needed))
print("done")
"""


def waiting_for(link):
    """The program, for which it matters whether a connection is closed."""
    mentioned = PROGRAM.replace('"it does not answer"', '"late", {link: "it has ended"}')
    opened = f"link = socket.socket(fileno={link.fileno()})\nwith ends"
    return "import socket" + mentioned.replace("with ends", opened)


def run(seconds, needed):
    command = [sys.executable, "-c", PROGRAM, str(seconds), str(needed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_what_ends_in_time_goes_on():
    assert run(seconds=30, needed=0.1) == (0, "done\n", "")


def test_what_does_not_ends_the_process_with_a_line_though_no_thread_can_run():
    assert run(seconds=0.2, needed=50) == (1, "", "it does not answer\n")


@pytest.mark.parametrize("closed_before", [True, False])
def test_neither_does_one_who_waits_for_another_whose_connection_is_closed(closed_before):
    here, there = socket.socketpair()
    command = [sys.executable, "-c", waiting_for(there), "40", "50"]
    with (
        here,
        there,
        subprocess.Popen(
            command, pass_fds=[there.fileno()], cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        if not closed_before:
            time.sleep(1)
            assert process.poll() is None
        here.close()
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "it has ended\n")


def test_whose_own_reason_to_end_comes_soon_ends_by_it():
    here, there = socket.socketpair()
    command = [sys.executable, "-c", waiting_for(there), "40", "0.3"]
    with here, there:
        here.close()
        done = subprocess.run(
            command, pass_fds=[there.fileno()], cwd=ROOT, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="which process is stopped is read in /proc")
def test_whose_connection_leads_to_one_that_is_stopped_sees_it_closed():
    here, there = socket.socketpair()
    said = waiting_for(there).replace("    ctypes", "    print('watched', flush=True)\n    ctypes")
    soon = "import lib.system.deadline\nlib.system.deadline._FROZEN = 0.5\n"
    command = [sys.executable, "-c", soon + said, "40", "50"]
    with (
        here,
        there,
        subprocess.Popen(
            command, pass_fds=[there.fileno()], cwd=ROOT, stdout=subprocess.PIPE
        ) as process,
    ):
        there.close()
        here.settimeout(20)
        try:
            assert process.stdout.readline() == b"watched\n"
            process.send_signal(signal.SIGSTOP)
            assert here.recv(1) == b""
        finally:
            process.kill()


def test_under_nohup_it_is_killed_as_a_hang_up_would_not_end_it():
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM
    command = [sys.executable, "-c", ignoring, "0.2", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "it does not answer\n")


def test_a_hang_up_afterwards_is_not_the_end_by_that_handler():
    ended = "import os, signal; signal.signal(signal.SIGHUP, lambda *_: None); "
    ended += "from lib.system.deadline import ends_within\nwith ends_within(9, ''): pass\n"
    ended += "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    done = subprocess.run([sys.executable, "-c", ended], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "goes on\n")
