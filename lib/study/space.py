"""The space of a search: which values flags may take.

    finetune_learning_rate=log(1e-6, 1e-3); finetune_optimizer=adam|rmsprop; head_epochs=int(1, 4)

A flag takes one of several values, joined by `|`, or a number from a range: `log(low, high)`,
`uniform(low, high)`, `int(low, high)`. A value with `|` or `;` outside of parentheses stands in
quotes: `augment="flip|rotate(0.1)"|"flip"`.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lib.config import setting
from lib.errors import UserError
from lib.specs import parse_one

_KINDS = ("log", "uniform", "int")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether their logarithms are what is drawn evenly.
        whole: whether they are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Choice:
    """One of several values, as they are written on a command line."""

    values: tuple[str, ...]


Space = Mapping[str, Range | Choice]


def parse(text: str) -> Space:
    """Reads a space.

    Raises:
        UserError: the text is not of this form; the message says where.
    """
    space: dict[str, Range | Choice] = {}
    for part in filter(str.strip, _cut(text, ";")):
        name, equals, values = part.strip().partition("=")
        name = name.strip().removeprefix("--")
        if not equals or not re.fullmatch(r"[a-z]\w*", name):
            raise _unreadable(part, "expected flag=values")
        if name in space:
            raise _unreadable(part, f"{name} is there twice")
        space[name] = _values(name, [each.strip() for each in _cut(values, "|")])
    if not space:
        raise _unreadable(text, "it is empty")
    return space


def grid(space: Space) -> list[dict[str, Any]] | None:
    """All points of a space, the last flag varying first; None where there are infinitely many."""
    values: list[list[Any]] = []
    for each in space.values():
        if isinstance(each, Range):
            if not each.whole:
                return None
            values.append(list(range(int(each.low), int(each.high) + 1)))
        else:
            values.append(list(each.values))
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def samples(space: Space) -> Iterator[dict[str, Any]]:
    """Points in which each value of each flag occurs, and both ends of ranges: to be checked."""
    ends = {
        name: [_number(each, end) for end in (each.low, each.high)]
        if isinstance(each, Range)
        else list(each.values)
        for name, each in space.items()
    }
    first = {name: values[0] for name, values in ends.items()}
    yield first
    for name, values in ends.items():
        yield from (first | {name: value} for value in values[1:])


def _number(span: Range, value: float) -> float | int:
    return int(value) if span.whole else value


def _values(name: str, texts: list[str]) -> Range | Choice:
    kind = texts[0].partition("(")[0].strip()
    if len(texts) == 1 and kind in _KINDS and texts[0].endswith(")"):
        return _range(f"{name}={texts[0]}")
    values = tuple(_unquoted(text) for text in texts)
    if not all(texts):
        raise _unreadable(f"{name}={'|'.join(texts)}", 'a value is missing (an empty one is "")')
    if len(set(values)) < len(values):
        raise _unreadable(f"{name}={'|'.join(texts)}", "a value is there twice")
    return Choice(values)


def _range(part: str) -> Range:
    _, _, text = part.partition("=")
    spec = parse_one(text)
    numbers = [v for v in spec.values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != 2 or len(spec.values) != 2 or spec.options:
        raise _unreadable(part, f"expected {spec.name}(low, high) with two numbers")
    low, high = numbers
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise _unreadable(part, "expected a low end below the high one")
    if spec.name == "int" and not (isinstance(low, int) and isinstance(high, int)):
        raise _unreadable(part, "expected whole numbers")
    if spec.name == "log" and low <= 0:
        raise _unreadable(part, "expected a low end above 0")
    return Range(low, high, log=spec.name == "log", whole=spec.name == "int")


def _cut(text: str, separator: str) -> list[str]:
    """Cuts a text at a separator, but not in quotes or parentheses."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if letter == separator and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if quote or depth:
        what = f"the quote {quote}" if quote else "a parenthesis"
        raise _unreadable(text, f"{what} is opened or closed only once")
    return parts


def _unquoted(text: str) -> str:
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _unreadable(part: str, why: str) -> UserError:
    return UserError(
        f"{setting('space')}: {part.strip()!r} cannot be read: {why}; an example of all kinds is"
        " rate=log(1e-6, 1e-3); dropout=uniform(0, 0.5); epochs=int(1, 4); optimizer=adam|rmsprop"
    )
