"""What a study came to, as text for a terminal."""

from collections.abc import Sequence

from lib.config import setting
from lib.study.plan import Plan
from lib.study.results import FIGURES, Outcome, Point, mean_figure, pooled
from lib.system.progress import duration

_NONE = "-"


def text(plan: Plan, points: Sequence[Point]) -> str:
    """The runs of a study, and what they say together."""
    parts = [aligned(run_rows(point)) for point in points] if not plan.space else []
    parts += [aligned(summary_rows(plan, point)) for point in points] if not plan.space else []
    return "\n\n".join(parts)


def run_rows(point: Point) -> list[list[str]]:
    """A row per run."""
    titles = [title for title, _ in FIGURES.values()]
    return [["run", *titles, "time", "weights"], *map(_run_row, point.outcomes)]


def _run_row(found: Outcome) -> list[str]:
    if found.state != "finished":
        epochs = found.history[-1].epoch if found.history else 0
        note = found.error or f"{epochs} epochs so far"
        return [found.run.name, f"{found.state}: {note}"]
    cells = [number(found.figure(name)) for name in FIGURES]
    time = duration(found.result["seconds"]["total"])
    return [found.run.name, *cells, time, found.result["weights_sha256"][:12]]


def summary_rows(plan: Plan, point: Point) -> list[list[str]]:
    """Mean, deviation and interval of each figure; folds pooled."""
    rows = [["", "mean", "sd", "95 % interval of the mean", "runs"]]
    for name, (title, _) in FIGURES.items():
        found = mean_figure(plan, point, name)
        if found:
            deviation, between = number(found.deviation), interval(found.interval)
            rows.append([title, number(found.mean), deviation, between, str(found.count)])
    for seed, each in pooled(plan, point).items():
        of = "" if seed is None else f", {setting('seed', seed)}"
        title = f"validation accuracy, {plan.folds} folds pooled{of}"
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
    columns = max(map(len, rows))
    widths = [
        max(
            (len(row[i]) for row in rows if i + 1 < len(row) or i + 1 == len(row) == columns),
            default=0,
        )
        for i in range(columns)
    ]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )
