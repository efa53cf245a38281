"""Tables and sentences for the terminal, as wide as it is.

A table that is wider is wrapped between words, then also after a hyphen, a slash or a dot. Where
not even that fits, its rows become blocks with a line for each column, as `psql` does it. Nothing
is broken within a word, a number or a date, unless it is wider than the terminal by itself.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TextIO

from rich.cells import cell_len, chop_cells

GAP = "  "
"""Between two columns."""

LONGEST = 100
"""Columns of a cell from which on it is wrapped even where the output is no terminal: nothing else
is cut for a width that nobody sees."""

WORD = re.compile(r"\([-+−–\d.e ]+\)|[<=] \S+|\S+")
"""What stays on one line: a word, a bound, or an interval in parentheses."""

PART = re.compile(r"\S+?(?:(?<=[-/.,])(?=[^\W\d_])|(?=\s|$))")
"""What stays on one line where that is too wide."""

Cells = Sequence[str]


def print_table(
    columns: Sequence[str],
    rows: Iterable[Cells],
    *,
    right: Sequence[str] = (),
    to: TextIO | None = None,
) -> None:
    """Prints rows of texts; columns named in `right` are set to the right.

    `to` None: standard output.
    """
    to = to or sys.stdout
    head, *body = ([printable(cell) for cell in row] for row in (columns, *rows))
    width = _width(to)
    fitted = _fitted([head, *body], width)
    if fitted is None:
        lines = [line for row in body for line in ("", *_block(head, row, width or LONGEST))]
    else:
        widths, pattern = fitted
        places = [(w, name in right) for w, name in zip(widths, columns, strict=True)]
        rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
        listed = (line for row in body for line in _lines(row, places, pattern))
        lines = ["", *_lines(head, places, pattern), rule, *listed]
    print("\n".join([*lines, ""]), file=to)


def fits(columns: Cells, rows: Iterable[Cells], *, to: TextIO | None = None) -> bool:
    """Whether a table of these stays one; `to` None: on standard output."""
    return _fitted([columns, *rows], _width(to or sys.stdout)) is not None


def print_text(text: str, *, to: TextIO | None = None) -> None:
    """Prints a sentence, wrapped between words where the output is a terminal.

    `to` None: standard output.
    """
    to = to or sys.stdout
    width = _width(to)
    line = printable(text)
    print(line if width is None else "\n".join(wrapped(line, width)), file=to)


def wrapped(text: str, width: int, pattern: re.Pattern[str] = WORD) -> list[str]:
    """The text in lines of at most `width` columns; a word that is longer is cut."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for found in pattern.finditer(text):
        word = found.group()
        blank = " " if lines[-1] and text[found.start() - 1].isspace() else ""
        joined = lines[-1] + blank + word
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            cut = [word] if cell_len(word) <= width else chop_cells(word, width)
            lines = [*lines, *cut] if lines[-1] else cut
    return lines


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


def _width(to: TextIO) -> int | None:
    """Columns of the terminal; None where the output is none."""
    return shutil.get_terminal_size().columns if to.isatty() else None


def _fitted(lines: Sequence[Cells], width: int | None) -> tuple[list[int], re.Pattern[str]] | None:
    """The width of each column, and what stays on one line; None where nothing fits."""
    cells = list(zip(*lines, strict=True))
    widths = [min(max(map(cell_len, column)), LONGEST) for column in cells]
    if width is None:
        return widths, WORD
    room = width - len(GAP) * (len(widths) - 1)
    for pattern in (WORD, PART):
        words = (max(_longest(cell, pattern) for cell in column) for column in cells)
        least = [min(pair) for pair in zip(words, widths, strict=True)]
        while sum(widths) > room and widths != least:
            # The widest of those that can.
            able = (at for at, has in enumerate(widths) if has > least[at])
            widths[max(able, key=widths.__getitem__)] -= 1
        if sum(widths) <= room:
            return widths, pattern
    return None


def _longest(text: str, pattern: re.Pattern[str]) -> int:
    return max(map(cell_len, pattern.findall(text)), default=0)


def _lines(row: Cells, places: Sequence[tuple[int, bool]], pattern: re.Pattern[str]) -> list[str]:
    """A row of a table: each column's width, and whether it is set to the right."""
    columns = [wrapped(cell, w, pattern) for cell, (w, _) in zip(row, places, strict=True)]
    return [
        GAP.join(_set(text, *place) for text, place in zip(line, places, strict=True)).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    ]


def _set(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _block(names: Cells, row: Cells, width: int) -> list[str]:
    """A row as lines of a column's name and its cell."""
    left = min(max(map(cell_len, names)), width // 3)
    places = ((left, False), (width - left - len(GAP), False))
    return [line for pair in zip(names, row, strict=True) for line in _lines(pair, places, WORD)]
