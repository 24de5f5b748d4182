"""Predictions as a file: CSV, JSON or JSON lines, written as they come."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.atomic import replacing
from lib.errors import UserError
from lib.reporting.result import UnixLines

SUFFIXES = (".csv", ".json", ".jsonl")
Row = dict[str, Any]


@contextlib.contextmanager
def table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """Opens a table in the format of its suffix, and yields what adds a row to it.

    The file is there, whole, when the block ends well.

    Args:
        path: one of `SUFFIXES`.
        columns: what of a row goes into CSV; JSON takes all of it.

    Raises:
        UserError: it cannot be written.
    """
    is_csv = path.suffix == ".csv"
    # What UTF-8 cannot hold (the odd byte of a file name) is kept as it is in CSV, and becomes
    # \udcxx in JSON, an escape that it knows.
    errors = "surrogateescape" if is_csv else "backslashreplace"
    try:
        with (
            replacing(path) as temporary,
            open(temporary, "w", encoding="utf-8", errors=errors, newline="") as file,
        ):
            if is_csv:
                writer = csv.DictWriter(UnixLines(file), columns, extrasaction="ignore")
                writer.writeheader()
                yield writer.writerow
            elif path.suffix == ".jsonl":
                yield lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                before = iter(["[\n"])
                yield lambda row: file.write(
                    next(before, ",\n") + json.dumps(row, ensure_ascii=False)
                )
                file.write(next(before, "\n") + "]\n")
    except BrokenPipeError:  # not of this file, but of the terminal's table
        raise
    except OSError as error:
        raise UserError(
            f"--output={path} cannot be written ({error.strerror}): give another file"
        ) from error
