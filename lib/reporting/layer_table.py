"""The table of frozen and trained layers, for a terminal and for TensorBoard."""

from collections.abc import Sequence

# A block of layers: name, indices of its layers, parameters, trained parameters or 0.
Row = tuple[str, str, int, int]


def as_text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    lines = [("block", "layers", "parameters", "trained"), *map(_cells, rows)]
    return "\n".join(
        f"  {block:<16}{layers:>9}{parameters:>12}{trained:>12}"
        for block, layers, parameters, trained in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """The table for TensorBoard."""
    lines = ["| block | layers | parameters | trained |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in map(_cells, rows))])


def _cells(row: Row) -> tuple[str, str, str, str]:
    name, layers, parameters, trained = row
    return name, layers, f"{parameters:,}", f"{trained:,}" if trained else "frozen"
