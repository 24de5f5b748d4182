"""What a run comes to: accuracy with its uncertainty, predictions and results as files."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any, TextIO

from lib.system.atomic import replacing


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of an accuracy measured on `count` independent examples.

    Unlike the textbook's p ± z·sqrt(p(1-p)/n) it stays within [0, 1] and keeps close to its nominal
    coverage for the small test sets and accuracies near 1 that are usual here.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (158), 1927, pages 209-212.

    Args:
        correct: how many examples were classified correctly.
        count: how many there were; at least 1.
        confidence: the probability that the interval covers the true accuracy, in (0, 1).

    Returns:
        The lower and the upper bound, each in [0, 1].

        >>> low, high = wilson_interval(195, 200)
        >>> f"{low:.3f} to {high:.3f}"
        '0.943 to 0.989'

    Raises:
        ValueError: not 0 <= correct <= count, or no examples at all.
    """
    if not 0 <= correct <= count or count < 1:
        raise ValueError(f"{correct} correct of {count} examples is not a measurement")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = correct / count
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    # min and max only remove what rounding adds when everything, or nothing, is correct.
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def write_predictions(path: Path, rows: Iterable[tuple[str, str, str, float]]) -> None:
    """Writes one row a picture as CSV: file, true class, predicted class, probability.

    Args:
        path: the CSV file to write.
        rows: the cells in that order; the probability is that of the predicted class.
    """
    header = ("file", "true_class", "predicted_class", "probability")
    write_csv(path, header, ((*words, repr(float(probability))) for *words, probability in rows))


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
