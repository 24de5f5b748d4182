"""A study on one page: `study.html`, a single file that opens without a server or a network."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lib.config import setting, written
from lib.reporting.svg import Series, line_chart
from lib.reporting.web import page, safe, section, table
from lib.runs.history import phase_starts
from lib.study.best import BEST
from lib.study.plan import Plan
from lib.study.results import TRIALS, Outcome, Point, best_of, leaks, mean_figure, pooled
from lib.study.space import Choice, Range, parse
from lib.study.table import (
    difference_rows,
    interval,
    number,
    point_rows,
    run_rows,
    short,
    summary_rows,
)
from lib.system.files import read_json, write_text

PAGE = "study.html"
_COLOURS = 8
_STYLE = Path(__file__).with_suffix(".css")


def write_page(plan: Plan, study: Path, points: Sequence[Point]) -> None:
    """Writes the page of a study as it stands.

    Raises:
        OSError: it cannot be written.
    """
    shares = read_json(study / TRIALS).get("importances", {})
    write_text(study / PAGE, html(plan, study, points, shares, leaks(points)))


def html(
    plan: Plan,
    study: Path,
    points: Sequence[Point],
    importances: Mapping[str, float],
    same: Sequence[tuple[str, str]],
) -> str:
    """The page.

    Args:
        plan: the study.
        study: its folder.
        points: as they stand.
        importances: the share of each flag in what the trials differ by; empty where not known.
        same: names of images that are the same in two splits or folds.
    """
    best = best_of(plan, points)
    sections = [
        f"<h1>{safe(study.name)}</h1>",
        f'<p class="soft">{safe(_what(plan, points))}</p>',
        _lead(plan, points, best),
    ]
    if same:
        rows = [[one, other] for one, other in same]
        head = ("image", "the same image, in another split or fold")
        sections.append(section("Leaks", table(head, rows, numbers=False)))
    if best and best.finished:
        title = "Results of the best" if plan.space else "Results"
        note = _soft(
            "Of each run's best epoch, that of the lowest validation loss, on the validation images"
            " that chose it and on the test images"
        )
        sections.append(section(title, note + _of(summary_rows(plan, best))))
    if rows := difference_rows(plan, points):
        note = _soft(
            "Student's t test in pairs of the same seed and fold"
            + (", corrected for the overlap of folds" if plan.folds else "")
            + (". The p values are not corrected for their number" if len(rows) > 2 else "")
        )
        sections.append(section("Differences", note + _of(rows)))
    sections.append(section("Curves", _curves(plan, points)))
    if plan.space:
        sections.append(section("By each flag", _slices(plan, points)))
        if importances:
            sections.append(section("Importance", _importances(importances)))
        note = _soft(f"Trials are {plan.rule}")
        sections.append(section("Trials", note + _of(point_rows(plan, points))))
    else:
        note = _soft(f"Runs are {plan.rule}")
        sections.append(section("Runs", note + _of(run_rows(points[0]))))
    sections.append(section("What was run", _run(plan, study)))
    return page(study.name, sections, _STYLE.read_text())


def _what(plan: Plan, points: Sequence[Point]) -> str:
    states = [point.state for point in points]
    runs = [each for point in points for each in point.outcomes]
    trials = len(points) if plan.space else 0
    over = [("trials", trials), ("folds", plan.folds), ("seeds", plan.seeds)]
    counts = [f"{count} {name}" for name, count in over if count]
    done = sum(each.state == "finished" for each in runs)
    parts = [f"{' × '.join(counts)}; {done} runs finished"]
    for state in ("pruned", "failed", "unfinished", "waiting"):
        if count := states.count(state):
            unit = "trial" if plan.space else "group"
            parts.append(f"{count} {unit}{'s' * (count > 1)} {state}")
    return ", ".join(parts)


def _lead(plan: Plan, points: Sequence[Point], best: Point | None) -> str:
    """The result in one sentence."""
    point = best if plan.space else points[0]
    found = point and mean_figure(plan, point, "validation_accuracy")
    if not found:
        return "<p>No run is finished yet.</p>"
    whole = pooled(plan, point)
    if len(whole) == 1:
        (each,) = whole.values()
        text = (
            f"<strong>{each.accuracy * 100:.1f} %</strong> of {each.count:,} images right, each"
            f" validated once, by a network that was not trained on it, in its best epoch (95 %"
            f" interval {each.interval[0] * 100:.1f} to {each.interval[1] * 100:.1f} %)"
        )
    else:
        between = f", 95 % interval {interval(found.interval)}" if found.interval else ""
        spread = f" (standard deviation {number(found.deviation)}{between})" if between else ""
        of = "mean validation accuracy of" if found.count > 1 else "validation accuracy of"
        runs = f"{found.count} runs" if found.count > 1 else "a run"
        text = f"<strong>{number(found.mean)}</strong> {of} {runs}{spread}"
    if not plan.space:
        return f'<p class="lead">{text}</p>'
    rated = sum(point.rating is not None for point in points)
    luck = _soft(
        f"The best of {rated} by the very images that it is the best of: on others expect less, and"
        " measure it on images that chose nothing"
    )
    title = plan.objective.replace("_", " ")
    which = (
        f"<p>{safe(point.name)}: <code>{safe(point.label)}</code>, {title}"
        f" {number(point.rating)}</p>"
    )
    return f'<p class="lead">{text}</p>{which}{luck}'


def _of(rows: Sequence[Sequence[str]]) -> str:
    columns = len(rows[0])
    filled = [[*row, *[""] * (columns - len(row))] for row in rows[1:]]
    return table(rows[0], filled)


def _soft(text: str) -> str:
    return f'<p class="soft">{safe(text)}.</p>'


def _curves(plan: Plan, points: Sequence[Point]) -> str:
    """Validation accuracy and loss of every run over each other, from the first epoch on.

    What was there before would leave little height for what they differ by.
    """
    begun = [(point, each) for point in points for each in point.outcomes if len(each.history) > 1]
    if not begun:
        return "<p>No run has finished an epoch yet.</p>"
    style_of, keys = _styles(plan, points, begun)
    charts = []
    last = max(each.history[-1].epoch for _, each in begun)
    marks = phase_starts(begun[0][1].history)[1:]
    for quantity in ("accuracy", "loss"):
        series = [
            Series(
                each.run.name,
                style_of(place, point),
                [row.epoch for row in each.history[1:]],
                [getattr(row, f"validation_{quantity}") for row in each.history[1:]],
                dots=len(begun) <= _COLOURS or style_of(place, point) == "best",
            )
            for place, (point, each) in enumerate(begun)
        ]
        series.sort(key=lambda each: "best" in each.style)  # drawn last, on top
        title = f"Validation {quantity}"
        charts.append(line_chart(title, "epoch", series, (1, max(2, last)), marks=marks))
    entries = "".join(
        f'<span class="entry"><span class="key {style}"></span>{safe(name)}</span>'
        for style, name in keys
    )
    key = f'<p class="soft">{entries}</p>' if entries else ""
    return f'{key}<div class="pair">{"".join(charts)}</div>'


def _styles(
    plan: Plan, points: Sequence[Point], begun: Sequence[tuple[Point, Outcome]]
) -> tuple[Callable[[int, Point], str], list[tuple[str, str]]]:
    """How curves are drawn: by the place of a run and its point; and what each style stands for.

    A colour is a point of a grid, or a run of a command line, as far as the colours go; of more
    points, and of a search, only the best one stands out.
    """
    if plan.space and (plan.trials or len(points) > _COLOURS):
        best = best_of(plan, points)
        keys = [("best", best.name)] if best else []
        keys.append(("other", "the others; each point says which it is"))
        return lambda _, point: "best" if best and point.name == best.name else "other", keys
    if plan.space:
        style = {point.name: f"c{place}" for place, point in enumerate(points)}
        keys = [(style[point.name], f"{point.name}, {point.label}") for point in points]
        return lambda _, point: style[point.name], keys
    few = len(begun) <= _COLOURS
    keys = [(f"c{place}", each.run.name) for place, (_, each) in enumerate(begun)] if few else []
    return lambda place, _: f"c{place % _COLOURS}{' dashed' * (place // _COLOURS % 2)}", keys


def _slices(plan: Plan, points: Sequence[Point]) -> str:
    """The rating over the values of each flag: what was finished, and the best of it."""
    rated = [point for point in points if point.rating is not None]
    if not rated:
        return "<p>No trial is finished yet.</p>"
    best = best_of(plan, points)
    title = plan.objective.replace("_", " ").capitalize()
    charts = []
    for name, values in parse(plan.space).items():
        places, ticks, span = _axis(values, [point.values[name] for point in rated])
        notes = [
            f"{point.name}, {name} {short(point.values[name])}: {point.rating:.4f}"
            for point in rated
        ]
        series = []
        for style, of_best in (("other loose", False), ("best loose", True)):
            some = [i for i, point in enumerate(rated) if (point.name == best.name) == of_best]
            series.append(
                Series(
                    style,
                    style,
                    [places[i] for i in some],
                    [rated[i].rating for i in some],
                    notes=[notes[i] for i in some],
                )
            )
        charts.append(line_chart(title, name, series, span, x_ticks=ticks))
    return f'<div class="pair">{"".join(charts)}</div>'


def _axis(
    values: Range | Choice, found: Sequence
) -> tuple[list[float], list[tuple[float, str]] | None, tuple[float, float]]:
    """Where values stand on an axis, how it is labelled, and what it spans."""
    if isinstance(values, Choice):
        places = [float(values.values.index(str(written(each)))) for each in found]
        labels = [_fitting(each, len(values.values)) for each in values.values]
        return places, list(enumerate(labels)), (-0.5, len(labels) - 0.5)
    if not values.log:
        room = 0.03 * (values.high - values.low)
        return [float(each) for each in found], None, (values.low - room, values.high + room)
    low, high = math.log10(values.low), math.log10(values.high)
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    ticks = [(float(power), f"{10.0**power:g}") for power in decades]
    if len(ticks) < 2:
        ticks = [(low, f"{values.low:.3g}"), (high, f"{values.high:.3g}")]
    room = 0.03 * (high - low)
    return [math.log10(each) for each in found], ticks, (low - room, high + room)


def _fitting(label: str, count: int) -> str:
    room = max(6, 48 // count)
    return label if len(label) <= room else f"{label[: room - 1]}…"


def _importances(importances: Mapping[str, float]) -> str:
    note = _soft("How much of what the finished trials differ by is due to each flag (PED-ANOVA)")
    rows = "".join(
        f'<tr><td>{safe(name)}</td><td class="share"><span style="--part:{share:.4f}"></span></td>'
        f"<td>{share * 100:.0f} %</td></tr>"
        for name, share in sorted(importances.items(), key=lambda each: -each[1])
    )
    return f'{note}<div class="wide"><table class="bars">{rows}</table></div>'


def _run(plan: Plan, study: Path) -> str:
    own = [
        *([setting("seeds", plan.seeds)] if plan.seeds else []),
        *([setting("folds", plan.folds)] if plan.folds else []),
        *([setting("space", plan.space)] if plan.space else []),
        *([setting("trials", plan.trials)] if plan.trials else []),
        setting("objective", plan.objective),
        *([setting("jobs", plan.jobs)] if plan.jobs > 1 else []),
        *([setting("storage", plan.storage)] if plan.storage else []),
        *([setting("no_prune")] if plan.trials and not plan.prune else []),
        *([setting("no_share")] if plan.space and not plan.share else []),
    ]
    command = ["python", "-m", "lib.study", setting("study", study), *own, "--", *plan.arguments]
    again = ""
    if (study / BEST).is_file():
        text = (study / BEST).read_text(encoding="utf-8")
        how = shlex.join(["python", "train.py", setting("flagfile", study / BEST)])
        again = (
            f"<p>The best run again, bit for bit, into a folder of your choice:</p>"
            f"<pre>{safe(how)} {setting('workdir', 'FOLDER')}</pre>"
            f"<details><summary>{BEST}</summary><pre>{safe(text)}</pre></details>"
        )
    watch = shlex.join(["tensorboard", setting("logdir", study / "runs")])
    return (
        f"<pre>{safe(shlex.join(command))}</pre>{again}<p>All curves, and every flag beside every"
        f" result (HParams):</p><pre>{safe(watch)}</pre>"
    )
