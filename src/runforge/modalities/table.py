"""Rows of a table: numbers and categories, packed as float32 [F].

B batch, F columns (first the numbers, then the categories), F' inputs of the network: each number
standardised, then an indicator for each column that has missing cells, then each category one-hot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from runforge import giveaways, groups, table_layout
from runforge.cell_forms import category_index
from runforge.column_kinds import TEXT, tell_left_out
from runforge.errors import ConfigError, DataError, Refused
from runforge.sample import Examined, PackedRows, Raw, Shown, parse_number, parse_numbers
from runforge.table_layout import cells_of
from runforge.table_statistics import (
    STATISTICS,
    category_input,
    far_outside,
    indicator_input,
    number_input,
    number_text,
)

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN = -1.0


class Table:
    """Columns of numbers and of categories.

    `numbers`, `categories`: names of columns; a column that neither lists is a number when each of
    its cells that is not missing reads as a finite number, else a category. A missing number is
    replaced by the training split's median. A category that training never saw, and one that is
    missing, give zeros only. A column that neither lists is left out, and a person told, where it
    is empty or constant, an id, a date, or text that is hardly ever the same.
    """

    def __init__(self, *, numbers: list[str] | None, categories: list[str] | None) -> None:
        self.numbers, self.categories = list(numbers or ()), list(categories or ())
        both = sorted(set(self.numbers) & set(self.categories))
        if both:
            raise ConfigError(
                f"{', '.join(both)}: a number and a category at once", where="data.modality"
            )

    def layout(self, raws: Iterable[Raw]) -> dict[str, Any]:
        """`numbers`, `categories` with their values, `indicators`: the columns with missing cells;
        `left_out`: columns that are not learned from, with the kind that each is of.

        `origins`, of numbers that 32-bit floats tell apart only when counted from there: by name.
        Raises `DataError` where the columns don't fit what the configuration names.
        """
        columns = table_layout.counted(raws)
        self._check_names(columns)
        values = {name: [v for v in cells if v is not None] for name, cells in columns.items()}
        parsed = {name: parse_numbers(values[name]) for name in columns}
        left_out = self._left_out(columns, parsed)
        kept = [name for name in columns if name not in left_out]
        numbers = [name for name in kept if self._is_number(name, parsed[name])]
        categories = [name for name in kept if name not in numbers]
        for name in categories:
            if name not in self.categories:
                table_layout.check_category(name, values[name])
        origins = {n: o for n in numbers if (o := table_layout.origin(values[n], parsed[n]))}
        table_layout.tell_columns(columns, parsed, numbers, categories)
        return {
            **({"origins": origins} if origins else {}),
            "numbers": numbers,
            "categories": [table_layout.category(name, values[name]) for name in categories],
            "indicators": [name for name in (*numbers, *categories) if None in columns[name]],
            "left_out": left_out,
        }

    def _left_out(
        self, columns: Mapping[str, Counter[str | None]], parsed: Mapping[str, np.ndarray | None]
    ) -> dict[str, str]:
        """By name the kind; raises `DataError` where nothing would be left."""
        named = {*self.numbers, *self.categories}
        found = {
            name: kind
            for name, counts in columns.items()
            if name not in named and (kind := table_layout.kind(name, counts, parsed[name]))
        }
        if len(found) == len(columns):
            shown = ", ".join(f"{name!r} ({kind})" for name, kind in islice(found.items(), 8))
            raise DataError(
                f"no column is left to learn from: {shown}",
                where="data.modality",
                mend="name one in data.modality.numbers or .categories, or add columns",
            )
        tell_left_out(found)
        return found

    def decode(
        self, raw: Raw, layout: Mapping[str, Any], remarks: list[str] | None = None
    ) -> np.ndarray:
        """float32 [F]: numbers (from their origins on), then codes of categories (−1 unknown).

        NaN is missing. Remarks: which cells are missing.
        """
        cells = cells_of(raw)
        origins = layout.get("origins", {})
        numbers = [_number(cells, name) - origins.get(name, 0.0) for name in layout["numbers"]]
        codes = [_code(cells, column["name"], column["values"]) for column in layout["categories"]]
        if remarks is not None:
            remarks += [f"{name!r} missing" for name, cell in cells.items() if cell is None]
        return np.array(numbers + codes, dtype=np.float32)

    def statistics(self, rows: PackedRows, layout: Mapping[str, Any]) -> dict[str, list[float]]:
        """One number for each input of the network, of every name.

        `column`: the packed column that it is made of; `number`, `indicator`, `category`: 1 where
        it is of that kind, the latter two only where training has such a cell; `mean`, `std`
        (population, of the cells that are there), `median`, `least` and `greatest` of a number;
        `code` of a category.
        """
        names = _names(layout)
        inputs = [number_input(rows, i) for i in range(len(layout["numbers"]))]
        inputs += [indicator_input(rows, names.index(name)) for name in layout["indicators"]]
        for i, column in enumerate(layout["categories"], start=len(layout["numbers"])):
            inputs += [category_input(rows, i, code) for code in range(len(column["values"]))]
        return {name: [given.get(name, 0.0) for given in inputs] for name in STATISTICS} | {
            "std": [given.get("std", 1.0) for given in inputs]
        }

    def input_shape(self, layout: Mapping[str, Any]) -> tuple[int, ...]:
        """[F']."""
        one_hot = sum(len(column["values"]) for column in layout["categories"])
        return (len(layout["numbers"]) + len(layout["indicators"]) + one_hot,)

    def examine(self, examined: Examined, layout: Mapping[str, Any]) -> None:
        """Tells what gives the target away, and of groups of rows that the splits tear apart."""
        names = _names(layout)
        giveaways.tell(
            giveaways.Table(
                _part(examined, "train"),
                _part(examined, "validation"),
                names,
                len(layout["numbers"]),
                examined.target_name,
                examined.classes,
            )
        )
        columns = [groups.of_numbers(name, examined.rows[:, i]) for i, name in enumerate(names)]
        columns += groups.of_cells(examined.whole(), _besides(examined, layout))
        groups.tell(columns, examined.targets, examined.splits)

    def strange(
        self,
        raw: Raw,
        row: np.ndarray,
        layout: Mapping[str, Any],
        statistics: Mapping[str, Sequence[float]],
    ) -> list[str]:
        """Categories that training never saw, and numbers far outside those of training."""
        cells, count = cells_of(raw), len(layout["numbers"])
        seen = zip(statistics["column"], statistics["code"], statistics["category"], strict=True)
        known = {(int(column), code) for column, code, category in seen if category}
        codes = enumerate(row[count:].tolist(), start=count)
        odd = [i for i, code in codes if not math.isnan(code) and (i, code) not in known]
        names = _names(layout)
        told = [f"{names[i]!r} is {cells[names[i]]!r}, which training never saw" for i in odd]
        return told + far_outside(row[:count], layout, statistics)

    def to_float(self, packed: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """float32 [B, F] as it is, NaN for missing."""
        return packed.float()

    def normalise(self, inputs: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
        """[B, F] → [B, F']: imputed and standardised numbers, indicators, one-hot categories."""
        of = statistics
        cells = inputs.index_select(1, of["column"].long())
        missing = cells.isnan()
        filled = cells.where(~missing, of["median"])
        numbers = (filled - of["mean"]) / of["std"]
        equal = (cells == of["code"]).float()
        return numbers * of["number"] + missing.float() * of["indicator"] + equal * of["category"]

    def columns(self, layout: Mapping[str, Any]) -> tuple[str, ...]:
        """Numbers, then categories."""
        return tuple(_names(layout))

    def show(self, row: np.ndarray, layout: Mapping[str, Any]) -> Shown:
        """A line `name: value` for each column."""
        count, origins = len(layout["numbers"]), layout.get("origins", {})
        numbers = zip(layout["numbers"], row[:count].tolist(), strict=True)
        texts = [number_text(value, origins.get(name, 0.0)) for name, value in numbers]
        for column, code in zip(layout["categories"], row[count:].tolist(), strict=True):
            texts.append(_category_text(column["values"], code))
        names = _names(layout)
        return Shown(
            picture=None, lines=tuple(f"{n}: {t}" for n, t in zip(names, texts, strict=True))
        )

    def _check_names(self, columns: Mapping[str, Any]) -> None:
        if not columns:
            raise DataError(
                "no column is left to learn from", where="data.source", mend="ignore fewer columns"
            )
        unknown = [name for name in (*self.numbers, *self.categories) if name not in columns]
        if unknown:
            raise DataError(
                f"no input column is called {', '.join(map(repr, unknown))}",
                where="data.modality",
                mend=f"the columns are {', '.join(columns)}",
            )

    def _is_number(self, name: str, parsed: np.ndarray | None) -> bool:
        return name in self.numbers or (name not in self.categories and parsed is not None)


def _names(layout: Mapping[str, Any]) -> list[str]:
    """The packed columns, in order."""
    return [*layout["numbers"], *(column["name"] for column in layout["categories"])]


def _given(cells: Mapping[str, str | None], name: str) -> str | None:
    if name not in cells:
        raise Refused(f"the column {name!r} is not there")
    return cells[name]


def _number(cells: Mapping[str, str | None], name: str) -> float:
    cell = _given(cells, name)
    if cell is None:
        return math.nan
    value = parse_number(cell)
    if value is None:
        raise Refused(f"the column {name!r} holds {cell[:40]!r}, no finite number")
    return value


def _code(cells: Mapping[str, str | None], name: str, values: list[str]) -> float:
    cell = _given(cells, name)
    if cell is None:
        return math.nan
    index = category_index(cell, values)
    return UNKNOWN if index is None else float(index)


def _part(examined: Examined, split: str) -> giveaways.Rows:
    """Some rows of a split, evenly over it."""
    rows = np.flatnonzero(examined.splits == split)
    some = rows[:: -(-len(rows) // giveaways.MOST_ROWS) or 1]
    return giveaways.Rows(np.asarray(examined.rows[some], np.float64), examined.targets[some])


def _besides(examined: Examined, layout: Mapping[str, Any]) -> list[str]:
    """Columns of the file that are not packed but might say which rows belong together."""
    first = next(examined.whole(), {})
    not_packed = [name for name in cells_of(first) if name not in _names(layout)]
    return [n for n in not_packed if layout["left_out"].get(n, TEXT) == TEXT]


def _category_text(values: Sequence[str], code: float) -> str:
    if math.isnan(code):
        return "missing"
    return "unknown" if code == UNKNOWN else values[int(code)]
