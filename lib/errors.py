"""The two ways in which a program ends early without being at fault."""

import signal


class UserError(Exception):
    """Something the user can put right.

    The message is a single line: what was received, what was expected, what to do. Entry points
    print it without a traceback and exit with code 1; every other exception is a defect of ours.
    """


class Stopped(Exception):
    """The user asked to stop, and all is saved.

    Args:
        number: of the signal that asked.

    Attributes:
        exit_code: 130 for SIGINT, 143 for SIGTERM, as shells have it.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
