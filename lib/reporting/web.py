"""What every page of ours is made of: a single file that opens without a server or a network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = Path(__file__).with_name("report.css")


def page(title: str, sections: Iterable[str], style: str = "") -> str:
    """A whole page, for desktop and phone, light and dark.

    Args:
        title: of the browser's tab.
        sections: as HTML, one after the other.
        style: CSS of this page, besides that of all.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe(title)}</title><style>{_STYLE.read_text()}{style}</style></head><body>"
        f"{''.join(sections)}</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of a page under a title."""
    return f"<section><h2>{title}</h2>{body}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """A table; all but the first column are numbers, which stand to the right."""
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    style = ' class="numbers"' if numbers else ""
    return f'<div class="wide"><table{style}><tr>{titles}</tr>{body}</table></div>'


def safe(text: str) -> str:
    """Text for HTML; the odd byte of a file name, which UTF-8 cannot hold, escaped."""
    return escape(text.encode("utf-8", "backslashreplace").decode())
