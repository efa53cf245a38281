"""Tables for the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 200
"""Columns where the output is no terminal: nothing is cut for a width that nobody sees."""


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    to: TextIO | None = None,
) -> None:
    """Prints rows of texts; columns named in `right` are set to the right.

    `to` None: standard output.
    """
    to = to or sys.stdout
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(
            Text(printable(name)), justify="right" if name in right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    terminal = to.isatty()
    width = shutil.get_terminal_size().columns if terminal else PIPED_WIDTH
    Console(file=to, width=width, highlight=False).print(table)


def printable(text: str) -> str:
    """The text with control characters visible: names come from outside, and steer no terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def rounded(value: float | None) -> str:
    """A figure with four digits; a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure and its 95% interval."""
    if value is None or low is None or high is None:
        return rounded(value)
    return f"{rounded(value)} ({rounded(low)} – {rounded(high)})"
