"""The file of a table as text cells, taken literally: CSV, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars

from runforge.dialect import UTF8, encoding_of
from runforge.errors import DataError, first_line
from runforge.overrides import typed
from runforge.parquet import column_names, read_parquet, row_count

ENDINGS = (".csv", ".tsv", ".txt", ".parquet")

LARGEST_BYTES = 2**30
MOST_ROWS = 20_000_000
"""Of a table: a CSV file is held as text, and a small Parquet file may claim any number."""

BEGINNING_BYTES = 2**18
"""Of a CSV file, from which its form and its header are read."""

BATCH_ROWS = 50_000
"""Rows that are held as Python text at a time, before they become compact columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file, and the line that it ends on."""

    line: int
    cells: list[str]


def beginning(path: Path, encoding: str | None) -> str:
    """The first lines of a CSV file, without reading on.

    Raises `DataError` where the file is too large, or they are no text.
    """
    _check_size(path)
    with path.open("rb") as file:
        raw = file.read(BEGINNING_BYTES)
    known = encoding or encoding_of(raw)
    if known is None:
        text, _ = _text(path, raw, UTF8)
    else:
        # The last character may be cut; one that is none is told when all is read.
        text = raw.decode(known, errors="replace").removeprefix("\ufeff")
    if len(raw) < BEGINNING_BYTES:
        return text
    lines = text.splitlines(keepends=True)
    return "".join(lines[:-1]) or text


def decoded(path: Path, encoding: str | None) -> tuple[str, str]:
    """The text of a CSV file, and its encoding; None: found out.

    Raises `DataError` for what is no such text, or too large.
    """
    _check_size(path)
    raw = path.read_bytes()
    return _text(path, raw, encoding or encoding_of(raw) or UTF8)


def _check_size(path: Path) -> None:
    size_bytes = path.stat().st_size
    if size_bytes > LARGEST_BYTES:
        what = f"has {size_bytes} bytes, more than {LARGEST_BYTES}"
        raise DataError(what, where=str(path), mend="write it as Parquet")


def _text(path: Path, raw: bytes, encoding: str) -> tuple[str, str]:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not {encoding.upper()} at byte {error.start}",
            where=str(path),
            mend="name its encoding, such as data.source.encoding=gb18030, or save it as UTF-8",
        ) from error
    if "\0" in text:
        offset = len(text[: text.index("\0")].encode(encoding))
        raise DataError(
            f"holds a NUL at byte {offset}", where=str(path), mend="save it as plain UTF-8 text"
        )
    return text.removeprefix("\ufeff"), encoding


def check_header(path: Path, header: list[str], ignored: list[str]) -> None:
    """Raises `DataError` where a column has no name, or two have the same."""
    if "" in header and "" not in ignored:
        raise DataError(
            f"column {header.index('') + 1} has no name, as when row numbers were written too",
            where=str(path),
            mend=f"name it, or leave it out: {typed('data.source.ignore', [''])}",
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


def parquet_header(path: Path) -> list[str]:
    """The names of a Parquet file's columns; raises `DataError`."""
    try:
        return column_names(path)
    except ValueError as error:
        raise _no_table(path, error) from error


def parquet_cells(path: Path) -> polars.DataFrame:
    """Every column as text: numbers in their shortest form, which reads back as the same."""
    try:
        rows = row_count(path)
        if rows > MOST_ROWS:
            what = f"has {rows} rows, more than {MOST_ROWS}"
            raise DataError(what, where=str(path), mend="take a part of them")
        return read_parquet(path).with_columns(polars.all().cast(polars.String))
    except (polars.exceptions.PolarsError, ValueError) as error:
        raise _no_table(path, error) from error


def _no_table(path: Path, error: Exception) -> DataError:
    reason = first_line(error)
    return DataError(
        f"can't be read as a table of plain cells ({reason})",
        where=str(path),
        mend="write it again without nested columns",
    )


def tables(root: Path) -> list[Path]:
    """Files in a folder that are tables by their names."""
    return sorted(path for path in root.iterdir() if path.suffix.lower() in ENDINGS)


def only_table(root: Path) -> str:
    """The name of the one table in a folder; raises `DataError` where there is not one."""
    found = [path.name for path in tables(root)]
    if len(found) == 1:
        return found[0]
    what = f"there are several tables: {some(found)}" if found else "there is no table in it"
    shown = typed("data.source.file", found[0] if found else "data.csv")
    raise DataError(what, where=str(root), mend=f"name one, such as {shown}")


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
