"""Runs of several programs as a table: medians, and how many times as fast the first one is."""

from statistics import median

from benchmarks.contenders import Run

_COLUMNS = ("total", "head", "finetune")


def as_markdown(runs: dict[str, list[Run]]) -> str:
    """A Markdown table with a row per program.

    Args:
        runs: by program; the seconds of the first one are what the others are divided by.
    """
    reference = _seconds(next(iter(runs.values())))
    rows = [
        "| program | total | head | fine-tuning | peak memory | validation | test |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, of_program in runs.items():
        seconds = _seconds(of_program)
        cells = [
            f"{seconds[phase]:.1f} s"
            + (f" ({seconds[phase] / reference[phase]:.2f} ×)" if seconds != reference else "")
            for phase in _COLUMNS
        ]
        memory = median(run.peak_memory_mb for run in of_program)
        validation = median(run.validation_accuracy for run in of_program)
        test = median(run.test_accuracy for run in of_program)
        rows.append(
            f"| {name} | {' | '.join(cells)} | {memory:.0f} MiB | {validation:.4f} | {test:.4f} |"
        )
    return "\n".join(rows)


def _seconds(runs: list[Run]) -> dict[str, float]:
    return {phase: median(run.seconds[phase] for run in runs) for phase in _COLUMNS}
