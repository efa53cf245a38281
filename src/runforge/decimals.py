"""Numbers with a decimal comma, column by column."""

from __future__ import annotations

from collections.abc import Sequence

import polars

NUMBER = r"^\s*[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?\s*$"
WITH_COMMA = r"^\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*$"
IN_THOUSANDS = r"^\s*[+-]?\d{1,3}(?:,\d{3})+\s*$"


def with_commas(frame: polars.DataFrame, missing: Sequence[str], separator: str) -> list[str]:
    """The columns whose cells are all numbers, some with a decimal comma.

    In a file that is separated by commas a column such as `1,500` is left alone: it may be
    thousands.
    """
    return [
        column.name
        for column in frame.iter_columns()
        if column.str.contains(",", literal=True).any() and _commas(column, missing, separator)
    ]


def _commas(column: polars.Series, missing: Sequence[str], separator: str) -> bool:
    cells = column.drop_nulls()
    cells = cells.filter(~cells.is_in(list(missing)))
    commas = cells.filter(cells.str.contains(",", literal=True))
    if not len(commas) or not cells.str.contains(NUMBER).all():
        return False
    return separator != "," or not commas.str.contains(IN_THOUSANDS).all()


def with_points(frame: polars.DataFrame, columns: Sequence[str]) -> polars.DataFrame:
    """Their numbers as they are written with a decimal point; other cells stay."""
    cell = polars.col(list(columns))
    changed = cell.str.replace(",", ".", literal=True)
    written = polars.when(cell.str.contains(WITH_COMMA)).then(changed).otherwise(cell)
    return frame.with_columns(written) if columns else frame
