"""Predictions as a file: CSV, JSON or JSON lines, written as they come."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.config import setting
from lib.errors import UserError
from lib.system.atomic import fitting
from lib.system.files import UnixLines
from lib.system.progress import say

SUFFIXES = (".csv", ".json", ".jsonl")
Row = dict[str, Any]


def unfinished(path: Path) -> Path:
    """Where the rows of a table are until all are there: `out.partial.csv` for `out.csv`."""
    return path.with_name(fitting(path.stem, f".partial{path.suffix}"))


@contextlib.contextmanager
def table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """Opens a table in the format of its suffix, and yields what adds a row to it.

    Each row is in the file `unfinished(path)` at once, which is a whole table of its format after
    each of them. It takes its name, `path`, when the block ends well and all rows could be written;
    else it stays as it is.

    Args:
        path: one of `SUFFIXES`; a file of that name is replaced, and one of `unfinished(path)`.
        columns: what of a row goes into CSV; JSON takes all of it.

    Yields:
        The function that adds a row. It raises `UserError` where the row cannot be written; the
        rows before it are as they were, and no more can follow.

    Raises:
        UserError: the file cannot be made or named.
    """
    partial = unfinished(path)

    def failed(error: OSError, rest: str) -> UserError:
        return UserError(f"{setting('output', path)} cannot be written ({error.strerror}): {rest}")

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(partial, "wb", buffering=0)  # noqa: SIM115, closed by the block below
    except OSError as error:
        raise failed(error, "give another file") from error
    with file:
        rows = _Rows(file, path.suffix, columns)
        try:
            rows.begin()
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise failed(error, "make room, or give another file") from error

        def add(row: Row) -> None:
            try:
                rows.add(row)
            except OSError as error:
                rest = f"the {rows.count} rows before are in {partial}"
                raise failed(error, rest) from error

        try:
            yield add
        except BaseException:
            if rows.count:
                say(f"The {rows.count} rows so far are in {partial}", sys.stderr)
            else:
                partial.unlink(missing_ok=True)
            raise
        if not rows.whole:
            return
        try:
            os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            raise failed(error, f"the rows are in {partial}") from error


class _Rows:
    """Writes rows so that the file is a whole table of its format after each of them."""

    def __init__(self, file: io.FileIO, suffix: str, columns: Sequence[str]):
        self._file = file
        self._columns = columns
        self._is_csv = suffix == ".csv"
        self._is_array = suffix == ".json"
        self._end = 0  # where the next row goes
        self._tail = b"\n]\n" if self._is_array else b""
        self.count = 0
        self.whole = True  # whether all rows are there

    def begin(self) -> None:
        """Writes what stands before the first row."""
        if self._is_csv:
            self._append(self._encoded(dict(zip(self._columns, self._columns, strict=True))))
        else:
            self._append(b"[" if self._is_array else b"")

    def add(self, row: Row) -> None:
        """Writes a row."""
        before = (b",\n" if self.count else b"\n") if self._is_array else b""
        self._append(before + self._encoded(row))
        self.count += 1

    def _encoded(self, row: Row) -> bytes:
        # What UTF-8 cannot hold (the odd byte of a file name) is kept as it is in CSV, and becomes
        # \udcxx in JSON, an escape that it knows.
        if self._is_csv:
            line = io.StringIO(newline="")
            writer = csv.DictWriter(UnixLines(line), self._columns, extrasaction="ignore")
            writer.writerow(row)
            return line.getvalue().encode("utf-8", "surrogateescape")
        text = json.dumps(row, ensure_ascii=False) + ("" if self._is_array else "\n")
        return text.encode("utf-8", "backslashreplace")

    def _append(self, data: bytes) -> None:
        try:
            self._write(data + self._tail)
        except OSError:
            self.whole = False
            os.ftruncate(self._file.fileno(), self._end)
            with contextlib.suppress(OSError):  # three bytes; without them the rows are there still
                self._write(self._tail)
            raise
        self._end += len(data)

    def _write(self, data: bytes) -> None:
        written = 0
        while written < len(data):  # a disk that is nearly full takes a part, then refuses
            written += os.pwrite(self._file.fileno(), data[written:], self._end + written)
