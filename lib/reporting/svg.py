"""A line chart as SVG for a web page: its colours come from the page, so it suits light and dark.

The page styles the classes `first` and `second` (series), `grid` and `mark`; text takes the page's
own colour.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT = 440, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 46  # what the axes leave around them


class Series(NamedTuple):
    """A line of a chart.

    Attributes:
        name: shown with each point.
        style: CSS classes, such as "first dashed".
        x: where the points are.
        y: likewise; a point that is not finite is left out.
        dots: whether the points are marked.
        notes: what is shown with each point, in place of the name and its numbers.
    """

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = True
    notes: Sequence[str] = ()


def line_chart(
    title: str,
    x_label: str,
    series: Sequence[Series],
    x_range: tuple[float, float],
    y_range: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    x_ticks: Sequence[tuple[float, str]] | None = None,
) -> str:
    """Draws lines over one another.

    Args:
        title: of the chart, which names the vertical axis too.
        x_label: of the horizontal axis.
        series: the lines.
        x_range: what the horizontal axis spans.
        y_range: likewise; by default the finite values and a little more.
        marks: vertical lines at some x, and their labels.
        x_ticks: where the horizontal axis is labelled, and how; by default by its numbers.

    Returns:
        An `<svg>` element as wide as its container.
    """
    if y_range is None:
        values = [y for each in series for y in each.y if math.isfinite(y)] or [0.0, 1.0]
        room = 0.06 * (max(values) - min(values)) or 0.05
        y_range = min(values) - room, max(values) + room

    def across(x: float) -> float:
        return _LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        part = (y - y_range[0]) / (y_range[1] - y_range[0])
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    whole = all(float(x).is_integer() for each in series for x in each.x)
    parts = [_text(_LEFT, 17, title, "title")]
    for tick in _ticks(y_range, 7):
        y = down(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(_LEFT - 7, y + 4, f"{tick:.5g}", "end"))
    if x_ticks is None:
        x_ticks = [(tick, f"{tick:.5g}") for tick in _ticks(x_range, 8, whole)]
    for tick, label in x_ticks:
        x = across(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
        parts.append(_text(x, bottom + 17, label, "middle"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 8, x_label, "middle"))
    for number, (place, label) in enumerate(marks):
        x = across(place)
        side = "end" if x > (_LEFT + right) / 2 else "start"
        parts.append(f'<path class="mark" d="M{x:.1f} {_TOP}V{bottom}"/>')
        # One above the other, as neighbours may be near.
        height = bottom - 8 - 14 * (number % 4)
        parts.append(_text(x - 5 if side == "end" else x + 5, height, label, side))
    for each in series:
        notes = each.notes or [
            f"{each.name}, {x_label} {x:g}: {y:.4f}" for x, y in zip(each.x, each.y, strict=True)
        ]
        points = [
            (across(x), down(y), note)
            for x, y, note in zip(each.x, each.y, notes, strict=True)
            if math.isfinite(y)
        ]
        line = " ".join(f"{left:.1f},{top:.1f}" for left, top, *_ in points)
        parts.append(f'<polyline class="{escape(each.style)}" points="{line}"/>')
        for left, top, note in points if each.dots else []:
            parts.append(
                f'<circle class="{escape(each.style)}" cx="{left:.1f}" cy="{top:.1f}" r="3.2">'
                f"<title>{escape(note)}</title></circle>"
            )
    label = escape(f"{title}: {', '.join(each.name for each in series)}", quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(span: tuple[float, float], count: int, integer: bool = False) -> list[float]:
    locator = MaxNLocator(count, integer=integer, steps=[1, 2, 2.5, 5, 10])
    slack = 1e-9 * (span[1] - span[0])
    ticks = np.asarray(locator.tick_values(*span))
    return [float(tick) for tick in ticks if span[0] - slack <= tick <= span[1] + slack]


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
