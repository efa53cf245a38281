"""The file of a table as text cells, taken literally: CSV in UTF-8, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars

from runforge.errors import DataError, first_line
from runforge.parquet import read_parquet, row_count

LARGEST_BYTES = 2**30
MOST_ROWS = 20_000_000
"""Of a table: a CSV file is held as text, and a small Parquet file may claim any number."""

BATCH_ROWS = 50_000
"""Rows that are held as Python text at a time, before they become compact columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file, and the line that it ends on."""

    line: int
    cells: list[str]


def decoded(path: Path) -> str:
    """The text of a CSV file; raises `DataError` for what is no UTF-8, or too large."""
    size_bytes = path.stat().st_size
    if size_bytes > LARGEST_BYTES:
        what = f"has {size_bytes} bytes, more than {LARGEST_BYTES}"
        raise DataError(what, where=str(path), mend="write it as Parquet")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 at byte {error.start}", where=str(path), mend="save it as UTF-8"
        ) from error
    if "\0" in text:
        offset = len(text[: text.index("\0")].encode())
        raise DataError(
            f"holds a NUL at byte {offset}", where=str(path), mend="save it as plain UTF-8 text"
        )
    return text.removeprefix("\ufeff")


def check_header(path: Path, header: list[str], ignored: list[str]) -> None:
    """Raises `DataError` where a column has no name, or two have the same."""
    if "" in header and "" not in ignored:
        raise DataError(
            f"column {header.index('') + 1} has no name, as when row numbers were written too",
            where=str(path),
            mend='name it, or leave it out: data.source.ignore=[""]',
        )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(
            f"these columns are there more than once: {some(repeated)}",
            where=str(path),
            mend="give each its own name",
        )


def checked(path: Path, rows: Iterator[Row], width: int) -> Iterator[list[str]]:
    """The cells of each row; raises `DataError` for one that is longer or shorter."""
    for number, row in enumerate(rows, start=1):
        if len(row.cells) != width:
            raise DataError(
                f"has {len(row.cells)} cells where the header has {width} (line {row.line})",
                where=f"{path}#{number}",
                mend="mend the row, or quote cells that hold the separator",
            )
        yield row.cells


def in_batches(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    """So many rows at a time as are held as Python's text."""
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def parquet_cells(path: Path) -> polars.DataFrame:
    """Every column as text: numbers in their shortest form, which reads back as the same."""
    try:
        rows = row_count(path)
        if rows > MOST_ROWS:
            what = f"has {rows} rows, more than {MOST_ROWS}"
            raise DataError(what, where=str(path), mend="take a part of them")
        return read_parquet(path).with_columns(polars.all().cast(polars.String))
    except (polars.exceptions.PolarsError, ValueError) as error:
        reason = first_line(error)
        raise DataError(
            f"can't be read as a table of plain cells ({reason})",
            where=str(path),
            mend="write it again without nested columns",
        ) from error


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
