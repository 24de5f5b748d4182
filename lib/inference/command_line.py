"""Arguments and exit codes of the commands other than `train.py`; an error is one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lib.errors import UserError
from lib.system import streams

# Figures are drawn into files, and matplotlib refuses to be imported where this names nothing.
os.environ.pop("MPLBACKEND", None)


class Parser(argparse.ArgumentParser):
    """An argument parser that puts what is wrong into one line, as `train.py` does."""

    def __init__(self, prog: str, doc: str | None):
        # None where Python leaves docstrings out (-OO).
        description = doc and doc.splitlines()[0]
        super().__init__(f"python -m {prog}", description=description, allow_abbrev=False)

    def add_run(self, several: bool = False) -> None:
        """Adds the arguments that say which weights of which run are meant.

        Args:
            several: whether there may be more runs than one; then they are a list.
        """
        more = {"action": "append"} if several else {}
        also = "; given several times, their probabilities are averaged" if several else ""
        self.add_argument(
            "--workdir", required=True, type=path, metavar="RUN", help=f"of the run{also}", **more
        )
        self.add_argument(
            "--checkpoint",
            default="best",
            metavar="best|latest|PATH",
            help="whose weights to take (default: best)",
        )

    def error(self, message: str) -> NoReturn:
        """Leaves the program with code 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see --help)\n")


def path(text: str) -> Path:
    """A path as it is typed after `--option=`, where shells leave a leading ~ alone."""
    return Path(os.path.expanduser(text))


def run(name: str, main: Callable[[], int]) -> NoReturn:
    """Runs a command and leaves the program with its exit code.

    Code 1 stands for an error that the user can correct, on one line; 130 and 143 for a stop by
    SIGINT and SIGTERM, after what is unfinished has been removed.

    Args:
        name: the module that is run.
        main: does the work and returns the exit code.
    """
    streams.fill()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"python -m {name}: error: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
