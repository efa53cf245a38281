"""CSV files that a person may open in a spreadsheet: no cell of theirs is run as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula and run it."""


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The same bytes for the same rows; texts are made inert, numbers stay as they are."""
    with path.open("w", encoding="utf-8", newline="") as file:
        sheet = Sheet(file)
        sheet.write(columns)
        for row in rows:
            sheet.write(row)


class Sheet:
    """Rows of cells into an open file, one by one."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def write(self, row: Sequence[object]) -> None:
        """One row; texts are made inert, numbers stay as they are."""
        self._writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in row])


def inert(cell: str) -> str:
    """On one line, every control character visible, and no formula."""
    shown = cell
    if not cell.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)
    return f"'{shown}" if shown.startswith(FORMULA_BEGINNINGS) else shown
