"""A table in one file: CSV or Parquet, one row for each sample.

Every cell is text and is taken literally: `NA`, `None` and `01` are values, unless the list
`missing_values` says otherwise.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import polars

from runforge.cells import Row, check_header, checked, decoded, in_batches, parquet_cells, some
from runforge.errors import ConfigError, DataError
from runforge.files import leaves
from runforge.sample import SPLITS, Raw, Rows, Sample


class Table:
    """A CSV file in UTF-8, or a Parquet file (`.parquet`), under the root.

    `target`: the column that holds the label; a missing one is refused by preparing.
    `split_column`: the column that says train, validation or test; null: runforge splits.
    `missing_values`: the texts that stand for a missing cell.
    `ignore`: columns that are not inputs.
    `columns`: names of the columns of a CSV file without a header; null: the first line is it.
    `separator`, `quote`: one character each, for CSV.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each key of the configuration
        self,
        *,
        file: str,
        target: str,
        split_column: str | None,
        missing_values: list[str],
        ignore: list[str],
        columns: list[str] | None,
        separator: str,
        quote: str,
    ) -> None:
        for key, character in {"separator": separator, "quote": quote}.items():
            if len(character) != 1 or character in "\r\n":
                raise ConfigError(f"{character!r} is not one character", where=f"data.source.{key}")
        if target in ignore:
            raise ConfigError(f"it lists the target {target!r}", where="data.source.ignore")
        self.file, self.target, self.split_column = file, target, split_column
        self.missing = frozenset(missing_values)
        self.ignore, self.columns = list(ignore), columns
        self.separator, self.quote = separator, quote

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every row; raises `DataError` where the file or a row has no table's form."""
        path = self._path(root)
        wanted = [self.target, *([self.split_column] if self.split_column else []), *self.ignore]
        frame = self._frame(path, wanted)
        if frame.is_empty():
            raise DataError("has no rows", where=str(path), mend="add data")
        labels = [self._cell(cell) or "" for cell in frame[self.target]]
        splits = self._splits(path, frame)
        left_out = {self.target, self.split_column, *self.ignore}
        columns = [name for name in frame.columns if name not in left_out]
        if not columns:
            mend = "ignore fewer columns"
            raise DataError("no column is left to learn from", where=str(path), mend=mend)
        inputs = _Inputs(frame.select(columns), self.missing)
        name = path.relative_to(root).as_posix()
        return [
            Sample(f"{name}#{i + 1}", label, split, partial(inputs.row, i))
            for i, (label, split) in enumerate(zip(labels, splits, strict=True))
        ]

    def unlabelled(self, path: Path, columns: Sequence[str]) -> Rows:
        """The rows of any file that is written as this one, with the target or without.

        Cells are those of `columns` alone. Raises `DataError` where one of them is not there.
        """
        frame = self._frame(path, columns)
        inputs = _Inputs(frame.select(columns), self.missing)
        rows = (
            Sample(f"{path.name}#{i + 1}", "", None, partial(inputs.row, i))
            for i in range(len(frame))
        )
        return Rows(rows, len(frame))

    def _frame(self, path: Path, wanted: Sequence[str]) -> polars.DataFrame:
        """The whole file, every cell as text; it has the `wanted` columns."""
        frame = parquet_cells(path) if path.suffix == ".parquet" else self._csv(path, wanted)
        self._check_columns(path, frame.columns, wanted)
        return frame

    def _path(self, root: Path) -> Path:
        path = root / self.file
        if not path.is_file():
            raise DataError(
                "there is no such file", where=str(path), mend="set data.root or data.source.file"
            )
        if leaves(path, root):
            mend = "move the file into data.root"
            raise ConfigError(
                f"{self.file} leaves the data folder", where="data.source.file", mend=mend
            )
        return path

    def _csv(self, path: Path, wanted: Sequence[str]) -> polars.DataFrame:
        rows = self._rows(path)
        first = next(rows, Row(0, []))
        header = first.cells if self.columns is None else self._columns(first, wanted)
        if not header:
            raise DataError("is empty", where=str(path), mend="it must have a header and rows")
        rows = rows if self.columns is None else chain([first] if first.cells else [], rows)
        check_header(path, header, self.ignore)
        self._check_columns(path, header, wanted)
        schema = dict.fromkeys(header, polars.String)
        batches = in_batches(checked(path, rows, len(header)))
        frames = [polars.DataFrame(batch, schema=schema, orient="row") for batch in batches]
        return polars.concat([polars.DataFrame(schema=schema), *frames])

    def _columns(self, first: Row, wanted: Sequence[str]) -> list[str]:
        """The names of a file without a header, which may lack the target where it need not be."""
        names = list(self.columns or ())
        without = [name for name in names if name != self.target]
        shorter = len(first.cells) == len(without) and self.target not in wanted
        return without if shorter else names

    def _rows(self, path: Path) -> Iterator[Row]:
        lines = io.StringIO(decoded(path), newline="")
        reader = csv.reader(lines, delimiter=self.separator, quotechar=self.quote, strict=True)
        try:
            for cells in reader:
                if cells:  # A blank line is no row.
                    yield Row(reader.line_num, cells)
        except csv.Error as error:
            raise DataError(
                f"line {reader.line_num} is no CSV ({error})",
                where=str(path),
                mend="check the quotes, data.source.quote, and cells that are long",
            ) from error

    def _cell(self, cell: str | None) -> str | None:
        return None if cell in self.missing else cell

    def _check_columns(self, path: Path, names: list[str], wanted: Sequence[str]) -> None:
        for name in wanted:
            if name not in names:
                raise DataError(
                    f"there is no column {name!r}, only {some(names)}",
                    where=str(path),
                    mend=self._mend(name, names),
                )

    def _mend(self, name: str, names: list[str]) -> str:
        """Says so where another separator would have given the column."""
        for separator in ",;\t|":
            if name in [
                cell.strip(self.quote) for cell in self.separator.join(names).split(separator)
            ]:
                return f"set data.source.separator={separator!r}"
        return "set the names in data.source"

    def _splits(self, path: Path, frame: polars.DataFrame) -> list[str | None]:
        if self.split_column is None:
            return [None] * len(frame)
        splits = [self._cell(cell) for cell in frame[self.split_column]]
        for index, split in enumerate(splits):
            if split is not None and split not in SPLITS:
                raise DataError(
                    f"{split!r} in column {self.split_column!r} is no split",
                    where=f"{path}#{index + 1}",
                    mend=f"use {', '.join(SPLITS)}, or leave it missing",
                )
        return splits


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The input columns of every row."""

    frame: polars.DataFrame
    missing: frozenset[str]

    def row(self, index: int) -> Raw:
        cells = self.frame.row(index)
        pairs = zip(self.frame.columns, cells, strict=True)
        return {name: None if cell in self.missing else cell for name, cell in pairs}
