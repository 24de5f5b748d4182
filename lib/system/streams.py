"""Standard streams that a program outlives: a terminal may be closed, and a reader may leave."""

import errno
import io
import os
import sys

# What the system answers where nobody reads any more, and where the terminal is gone.
_GONE = (errno.EPIPE, errno.EIO)


def fill() -> None:
    """Opens standard streams that the program was started without, to nowhere.

    Python has None in their place, and the next files that are opened would get their numbers:
    what native code prints would be written into them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            # For as long as the program runs.
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def outlive_readers() -> None:
    """Lets the program go on where nobody reads its standard output or error any more.

    What it says from then on is lost; without this it would end with an error, its work undone.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


class _Outliving(io.FileIO):
    """A file that turns into nowhere when its reader leaves."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return super().write(data)


def _outliving(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:  # one in memory, which has no reader
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Outliving(number, "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
