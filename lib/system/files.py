"""Tables as CSV and mappings as JSON, in files that are written whole or not at all; digests."""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from lib.system.atomic import replacing


class UnixLines:
    """What `csv` writes to so that rows end in LF while names with CR or LF in them are quoted.

    With LF as its line terminator `csv` leaves CR unquoted, which readers take for a row's end.

    Args:
        file: a text file opened with newline="".
    """

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> None:
        """Writes a whole row, as `csv` hands it over."""
        self._file.write(row.removesuffix("\r\n") + "\n")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table as CSV in UTF-8.

    A file name that is no valid UTF-8 comes out with the bytes it has on the disk.
    """
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(UnixLines(file), lineterminator="\r\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, mapping: Mapping[str, Any]) -> None:
    """Writes a mapping as JSON for people and programs: keys in the order given, UTF-8, indented.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know; pass None instead.
    """
    text = json.dumps(mapping, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # What UTF-8 cannot hold (the odd byte of a file name) becomes \udcxx, an escape JSON knows.
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8, the odd byte of a file name escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote; empty where the file is missing or damaged.

    What is in such a file can be computed again, which is what callers do then.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; it is read part by part."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
