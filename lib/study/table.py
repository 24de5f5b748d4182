"""What a study came to, as text for a terminal."""

from collections.abc import Sequence

from lib.config import setting, written
from lib.study.plan import OBJECTIVES, Plan
from lib.study.results import (
    FIGURES,
    Outcome,
    Point,
    best_of,
    difference,
    mean_figure,
    pooled,
)
from lib.system.progress import duration

_NONE = "-"


def text(plan: Plan, points: Sequence[Point]) -> str:
    """The runs of a study, and what they say together."""
    if not plan.space:
        (point,) = points
        tables = map(aligned, (run_rows(point), summary_rows(plan, point)))
        return "\n\n".join([f"Runs are {plan.rule}", *tables])
    parts = [f"Trials are {plan.rule}", aligned(point_rows(plan, points))]
    if rows := difference_rows(plan, points):
        parts.append(aligned(rows))
    if best := best_of(plan, points):
        parts.append(f"Best: {best.name}, {best.label}")
        if best.finished:
            parts.append(aligned(summary_rows(plan, best)))
        else:
            parts.append(f"The runs of {best.name} are in the study's folder on another machine")
    return "\n\n".join(parts)


def point_rows(plan: Plan, points: Sequence[Point]) -> list[list[str]]:
    """A row per point of a space, rated on validation images alone."""
    names = list(dict.fromkeys(name for point in points for name in point.values))
    rating, *others = sorted(OBJECTIVES, key=lambda name: name != plan.objective)
    titles = [FIGURES[name][0] for name in (rating, *others)]
    rows = [["", *names, titles[0], "sd", *titles[1:], "runs", "weights"]]
    for point in points:
        cells = [point.name, *(short(point.values.get(name, _NONE)) for name in names)]
        if point.rating is None:
            note = point.error or (point.pruned_at and f"after {point.pruned_at}")
            rows.append([*cells, f"{point.state}{': ' * bool(note)}{note}"])
            continue
        found = mean_figure(plan, point, rating)
        cells += [number(found.mean), number(found.deviation)]
        cells += [number(mean_figure(plan, point, name).mean) for name in others]
        rows.append([*cells, str(found.count), point.weights[:12]])
    return rows


def difference_rows(plan: Plan, points: Sequence[Point]) -> list[list[str]]:
    """For the points of a grid: what each differs by from the first, in pairs of equal members."""
    if plan.trials or len(points) < 2 or len(plan.members) < 2:
        return []
    rows = [[f"less {points[0].name}", "", "mean", "95 % interval", "p", "pairs"]]
    for point in points[1:]:
        for name in OBJECTIVES:
            if found := difference(plan, points[0], point, name):
                cells = [f"{found.mean:+.4f}", interval(found.interval), f"{found.p_value:.3g}"]
                title = FIGURES[name][0]
                rows.append([f"{point.name}, {point.label}", title, *cells, str(found.count)])
    return rows if len(rows) > 1 else []


def short(value: object) -> str:
    """A value of a flag for a table."""
    return f"{value:.4g}" if isinstance(value, float) else written(value)


def run_rows(point: Point) -> list[list[str]]:
    """A row per run: what it came to in its best epoch."""
    titles = [title for title, _ in FIGURES.values()]
    head = ["run", "best epoch", *titles, "time", "weights"]
    return [head, *map(_run_row, point.outcomes)]


def _run_row(found: Outcome) -> list[str]:
    if found.state != "finished":
        epochs = found.history[-1].epoch if found.history else 0
        note = found.error or f"{epochs} epochs so far"
        return [found.run.name, f"{found.state}: {note}"]
    cells = [number(found.figure(name)) for name in FIGURES]
    time = duration(found.result["seconds"]["total"])
    epoch = f"{found.result['best']['epoch']} of {found.result['epoch']}"
    return [found.run.name, epoch, *cells, time, found.result["weights_sha256"][:12]]


def summary_rows(plan: Plan, point: Point) -> list[list[str]]:
    """Mean, deviation and interval of each figure; folds pooled."""
    rows = [["", "mean", "sd", "95 % interval of the mean", "runs"]]
    for name, (title, _) in FIGURES.items():
        found = mean_figure(plan, point, name)
        if found:
            deviation, between = number(found.deviation), interval(found.interval)
            rows.append([title, number(found.mean), deviation, between, str(found.count)])
    for last in (False, True):
        for seed, each in pooled(plan, point, last).items():
            of = "" if seed is None else f", {setting('seed', seed)}"
            when = ", last epoch" if last else ""
            title = f"validation accuracy, {plan.folds} folds pooled{of}{when}"
            images = f"{each.count} images"
            rows.append([title, number(each.accuracy), _NONE, interval(each.interval), images])
    return rows


def number(value: float | None) -> str:
    """A figure as people read it."""
    return _NONE if value is None else f"{value:.4f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """The two bounds of an interval."""
    return _NONE if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: as wide as its cells, of which the last of a row may be longer."""
    widths = [0] * max(map(len, rows))
    for row in rows:
        last = len(row) - 1
        for i, cell in enumerate(row):
            if i < last or len(row) == len(widths):
                widths[i] = max(widths[i], len(cell))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )
