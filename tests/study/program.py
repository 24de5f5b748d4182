"""The study command in a process of its own, with a stand-in for train.py or with the real one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAND_IN = """
import sys
sys.path[0] = {root!r}
from pathlib import Path
from lib.study import __main__ as command, processes
command.check = lambda lines, trainable: processes.check(lines, trainable=False)
processes.TRAIN = Path({root!r}, "tests", "study", "stand_in.py")
from lib.inference import command_line
command_line.run("lib.study", lambda: command.main(sys.argv[1:]))
"""


def start(*arguments, real=False, **environment):
    program = ["-m", "lib.study"] if real else ["-c", STAND_IN.format(root=str(ROOT))]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def study(*arguments, code=0, real=False, **environment):
    """Takes a study to its end, and returns what it said."""
    process = start(*arguments, real=real, **environment)
    out, err = process.communicate()
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return out + err


def kill(process):
    """Kills a study, and waits until its runs are gone, too."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def table(said):
    """The tables that a study ends with."""
    return said.partition("\n\n")[2].partition("The flags of the best run: ")[0]
