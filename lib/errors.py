"""The two ways in which a program ends early without being at fault."""

import re
import signal


class UserError(Exception):
    """An error that the user can correct.

    The message is a single line: what was received, what was expected, what to do. Entry points
    print it without a traceback and exit with code 1; every other exception is a defect of ours.
    """


class Stopped(Exception):
    """The user asked to stop, and all is saved; the message is the line that says so.

    Args:
        number: of the signal that asked.

    Attributes:
        exit_code: 130 for SIGINT, 143 for SIGTERM, as in shells.
    """

    def __init__(self, number: int):
        name = signal.Signals(number).name
        super().__init__(f"Stopped by {name}: the same command goes on from here")
        self.exit_code = 128 + number


def last_line(problem: str) -> str:
    """How `train.py` says, last, what it ends for."""
    return f"train.py: error: {problem}"


def reason(error: Exception) -> str:
    """What went wrong, on one line, without the names that TensorFlow gives to its operations."""
    # Of an error in a graph TensorFlow says first where the graph was made, then what happened.
    message = str(error).strip().rpartition("\n\n")[2]
    return " ".join(re.sub(r"\[*\{\{.*?\}\}\]*|\[Op:\w+\]( name:)?", "", message).split())
