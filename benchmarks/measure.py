"""The cost of a run of a program: seconds and peak memory, seen from outside."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lib.system.runtime import peak_memory_mb

ROOT = Path(__file__).parents[1]


class Cost(NamedTuple):
    """What a process took.

    Attributes:
        output: what it printed on stdout.
        seconds: from its start to its end.
        peak_memory_mb: its largest resident set, in MiB.
        processor: seconds of processor time, with those of processes that it has waited for.
    """

    output: str
    seconds: float
    peak_memory_mb: float
    processor: float


def cost_of(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command in the project's folder to its end.

    The process that calls this should be a small one: Linux counts its size as the child's until
    the child has replaced its program.

    Args:
        command: the program and its arguments.
        environment: what to set besides the environment of this process.

    Raises:
        SystemExit: the command failed; what it printed last is the message.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            tail = "".join(errors.readlines()[-20:])
            sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{tail}")
        processor = usage.ru_utime + usage.ru_stime
        return Cost(output.read(), seconds, peak_memory_mb(usage), processor)
