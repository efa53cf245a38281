"""A table in one file: CSV or Parquet, one row for each sample.

Every cell is text and is taken literally: `NA`, `None` and `01` are values, unless the list
`missing_values` says otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars

from runforge import dialect
from runforge.cells import (
    Row,
    beginning,
    check_header,
    checked,
    decoded,
    in_batches,
    only_table,
    parquet_cells,
    parquet_header,
    some,
    tables,
)
from runforge.decimals import with_commas, with_points
from runforge.dialect import UTF8, Dialect, Wanted
from runforge.errors import ConfigError, DataError
from runforge.files import leaves
from runforge.notices import notice
from runforge.overrides import typed
from runforge.sample import SPLITS, Rows, Sample
from runforge.table_rows import TableRows


class Table:
    """A CSV file, or a Parquet file (`.parquet`), under the root.

    `file`: null: the only table under the root.
    `target`: the column that holds the label; a missing one is refused by preparing.
    `split_column`: the column that says train, validation or test; null: runforge splits.
    `missing_values`: the texts that stand for a missing cell.
    `ignore`: columns that are not inputs.
    `columns`: names of the columns of a CSV file without a header; null: the first line is it.
    `separator`, `quote`: one character each, for CSV; an empty quote: cells are not quoted.
    `encoding`: of a CSV file, by a name that Python knows.
    `decimal`: `,` or `.`, of numbers. Of these four null is: found out and told.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each key of the configuration
        self,
        *,
        file: str | None,
        target: str,
        split_column: str | None,
        missing_values: list[str],
        ignore: list[str],
        columns: list[str] | None,
        separator: str | None,
        quote: str | None,
        encoding: str | None = None,
        decimal: str | None = ".",
    ) -> None:
        self.separator = dialect.character(separator, "data.source.separator")
        self.quote = dialect.character(quote, "data.source.quote")
        if self.separator == "":
            raise ConfigError("'' is not one character", where="data.source.separator")
        if target in ignore:
            raise ConfigError(f"it lists the target {target!r}", where="data.source.ignore")
        if decimal not in (None, ".", ","):
            mend = "give . or , or null: it is found out"
            raise ConfigError(f"{decimal!r} is no sign", where="data.source.decimal", mend=mend)
        dialect.check_encoding(encoding)
        self.file, self.target, self.split_column = file, target, split_column
        self.missing = frozenset(missing_values)
        self.ignore, self.columns = list(ignore), columns
        self.encoding, self.decimal = encoding, decimal

    def check(self, root: Path) -> None:
        """Raises `DataError` for what the name of the file and its first lines show already."""
        path = self._path(root)
        if path.suffix == ".parquet":
            self._check_columns(path, parquet_header(path), self._wanted())
            return
        text = beginning(path, self.encoding)
        self._header(path, self._dialect(text, self._wanted()), text, self._wanted())

    def samples(self, root: Path) -> Sequence[Sample]:
        """Lists every row; raises `DataError` where the file or a row has no table's form."""
        path = self._path(root)
        self.check(root)
        frame, commas, told = self._frame(path, self._wanted())
        if frame.is_empty():
            raise DataError("has no rows", where=str(path), mend="add data")
        self._tell(path, commas, told)
        written = with_points(frame, commas)
        labels = [self._cell(cell) or "" for cell in written[self.target]]
        splits = self._splits(path, frame)
        inputs = self._inputs(path, written)
        # Where all columns are inputs, as they stand, one reading is enough.
        same = written is frame and not self.ignore and self.missing == {""}
        whole = None if same else self._whole(frame)
        name = path.relative_to(root).as_posix()
        return [
            Sample(
                f"{name}#{i + 1}",
                label,
                split,
                partial(inputs.row, i),
                None if whole is None else partial(whole.row, i),
            )
            for i, (label, split) in enumerate(zip(labels, splits, strict=True))
        ]

    def unlabelled(self, path: Path, columns: Sequence[str], others: Collection[str] = ()) -> Rows:
        """The rows of any file that is written as this one, with the target or without.

        Cells are those of `columns` alone. Raises `DataError` where one of them is not there.
        `others` are columns that training knew and did not learn from.
        """
        frame, commas, _ = self._frame(path, columns)
        inputs = TableRows(with_points(frame, commas).select(columns), self.missing)
        # Columns that training did not know are no part of a row's identity.
        known = [n for n in frame.columns if n in {*columns, *self.ignore, *others}]
        row, whole = inputs.row, self._whole(frame.select(known)).row
        rows = (
            Sample(f"{path.name}#{i + 1}", "", None, partial(row, i), partial(whole, i))
            for i in range(len(frame))
        )
        return Rows(rows, len(frame))

    def _wanted(self) -> list[str]:
        return [self.target, *([self.split_column] if self.split_column else []), *self.ignore]

    def _inputs(self, path: Path, written: polars.DataFrame) -> TableRows:
        left_out = {self.target, self.split_column, *self.ignore}
        columns = [name for name in written.columns if name not in left_out]
        if not columns:
            mend = "ignore fewer columns"
            raise DataError("no column is left to learn from", where=str(path), mend=mend)
        return TableRows(written.select(columns), self.missing)

    def _whole(self, frame: polars.DataFrame) -> TableRows:
        """Rows as they stand in the file, but for the target and the split, whatever is chosen; an
        empty cell and none at all (Parquet) are one."""
        no_part = (self.target, self.split_column)
        return TableRows(frame.select([n for n in frame.columns if n not in no_part]), [""])

    def _frame(self, path: Path, wanted: Sequence[str]) -> tuple[polars.DataFrame, list[str], str]:
        """The whole file, every cell as text; it has the `wanted` columns.

        With the columns of decimal commas, and what was found out of its form.
        """
        if path.suffix == ".parquet":
            frame, told, separator = parquet_cells(path), "", ""
            self._check_columns(path, frame.columns, wanted)
        else:
            frame, told, separator = self._csv(path, wanted)
        if self.decimal is None:
            return frame, with_commas(frame, sorted(self.missing), separator), told
        return frame, frame.columns if self.decimal == "," else [], told

    def _path(self, root: Path) -> Path:
        path = root / (self.file or only_table(root))
        if not path.is_file():
            there = [found.name for found in tables(root)]
            mend = f"set data.root or data.source.file{f'; there: {some(there)}' if there else ''}"
            raise DataError("there is no such file", where=str(path), mend=mend)
        if leaves(path, root):
            mend = "move the file into data.root"
            raise ConfigError(
                f"{self.file} leaves the data folder", where="data.source.file", mend=mend
            )
        return path

    def _csv(self, path: Path, wanted: Sequence[str]) -> tuple[polars.DataFrame, str, str]:
        """Every row, what was found out of the file's form, and its separator."""
        text, encoding = decoded(path, self.encoding)
        form = self._dialect(text, wanted)
        rows = self._rows(path, form, text)
        header = self._header(path, form, text, wanted)
        if self.columns is None:
            next(rows)
        schema = dict.fromkeys(header, polars.String)
        batches = in_batches(checked(path, rows, len(header)))
        frames = [polars.DataFrame(batch, schema=schema, orient="row") for batch in batches]
        frame = polars.concat([polars.DataFrame(schema=schema), *frames])
        return frame, self._found(form, encoding), form.separator

    def _dialect(self, text: str, wanted: Sequence[str]) -> Dialect:
        return dialect.find(text, self.separator, self.quote, Wanted(wanted, self.columns))

    def _header(self, path: Path, form: Dialect, text: str, wanted: Sequence[str]) -> list[str]:
        """The names of the columns; raises `DataError` where they are not as they must be."""
        first = next(self._rows(path, form, text), Row(0, []))
        header = first.cells if self.columns is None else self._columns(first, wanted)
        if not header:
            raise DataError("is empty", where=str(path), mend="it must have a header and rows")
        check_header(path, header, self.ignore)
        self._check_columns(path, header, wanted)
        return header

    def _columns(self, first: Row, wanted: Sequence[str]) -> list[str]:
        """The names of a file without a header, which may lack the target where it need not be."""
        names = list(self.columns or ())
        without = [name for name in names if name != self.target]
        shorter = len(first.cells) == len(without) and self.target not in wanted
        return without if shorter else names

    def _rows(self, path: Path, form: Dialect, text: str) -> Iterator[Row]:
        try:
            for line, cells in form.rows(text):
                yield Row(line, cells)
        except csv.Error as error:
            mend = "check the quotes, data.source.quote, and cells that are long"
            raise DataError(str(error), where=str(path), mend=mend) from error

    def _cell(self, cell: str | None) -> str | None:
        return None if cell in self.missing else cell

    def _check_columns(self, path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
        for name in wanted:
            if name not in names:
                raise DataError(
                    f"there is no column {name!r}, only {some(names)}",
                    where=str(path),
                    mend=self._mend(name, names),
                )

    def _mend(self, name: str, names: Sequence[str]) -> str:
        """Says so where another separator would have given the column."""
        if self.separator is not None:
            for other in dialect.SEPARATORS:
                cells = self.separator.join(names).split(other)
                if name in [cell.strip(self.quote or '"') for cell in cells]:
                    return "set data.source.separator=null: it is found out"
        alike = next((one for one in names if one.strip().lower() == name.strip().lower()), None)
        if name == self.target:
            return f"set {typed('data.source.target', alike or 'NAME')}{_headerless(names)}"
        return "set the names in data.source" + (f": there is {alike!r}" if alike else "")

    def _found(self, form: Dialect, encoding: str) -> str:
        """What was found out and is not as most files are."""
        odd = [
            ("separator", form.separator + " " * form.padded, self.separator, ","),
            ("quote", form.quote, self.quote, '"'),
            ("encoding", encoding, self.encoding, UTF8),
        ]
        # A mark of UTF-8 changes nothing for who reads it.
        found = [
            f"{key} {value!r}"
            for key, value, given, usual in odd
            if given is None and value not in (usual, "utf-8-sig")
        ]
        return ", ".join(found)

    def _tell(self, path: Path, commas: Sequence[str], told: str) -> None:
        parts = [told] if told else []
        if self.decimal is None and commas:
            parts.append(f"decimal commas in {some(commas)}")
        if parts:
            hint = "if that is wrong, set data.source.separator, quote, encoding or decimal"
            notice(f"read with {' and '.join(parts)}, as found out", where=str(path), hint=hint)

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


def _headerless(names: Sequence[str]) -> str:
    """A hint where the first line looks like a row."""
    numbers = sum(name.strip().lstrip("+-").replace(".", "", 1).isdigit() for name in names)
    return ", or data.source.columns where the file has no header" if numbers else ""
