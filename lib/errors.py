"""The one kind of error that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can put right.

    The message is a single line: what was received, what was expected, what to do. Entry points
    print it without a traceback and exit with code 1; every other exception is a defect of ours.
    """
