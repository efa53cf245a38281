"""Rows of a table: numbers and categories, packed as float32 [F].

B batch, F columns (first the numbers, then the categories), F' inputs of the network: each number
standardised, then an indicator for each column that has missing cells, then each category one-hot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runforge.cell_forms import category_index
from runforge.errors import ConfigError, DataError, Refused
from runforge.ordering import natural_order
from runforge.sample import PackedRows, Raw, Shown, parse_number
from runforge.single_precision import origin

if TYPE_CHECKING:
    from torch import Tensor

MAX_CATEGORIES = 1000
"""More than that in one column is no category but a name, a text or a number gone wrong."""

UNKNOWN = -1.0

FEWEST_NUMBERS, MOST_OTHERS = 5, 0.2
"""A column of so many different numbers, and of at most this share of other texts, is no category
as it stands: one cell of `?` or `1e999` would have turned its numbers into names."""


class Table:
    """Columns of numbers and of categories.

    `numbers`, `categories`: names of columns; a column that neither lists is a number when each of
    its cells that is not missing reads as a finite number, else a category. A missing number is
    replaced by the training split's median. A category that training never saw, and one that is
    missing, give zeros only.
    """

    def __init__(self, *, numbers: list[str] | None, categories: list[str] | None) -> None:
        self.numbers, self.categories = list(numbers or ()), list(categories or ())
        both = sorted(set(self.numbers) & set(self.categories))
        if both:
            raise ConfigError(
                f"{', '.join(both)}: a number and a category at once", where="data.modality"
            )

    def layout(self, raws: Iterable[Raw]) -> dict[str, Any]:
        """`numbers`, `categories` with their values, `indicators`: the columns with missing cells.

        `origins`, of numbers that 32-bit floats tell apart only when counted from there: by name.
        Raises `DataError` where the columns don't fit what the configuration names.
        """
        columns: dict[str, dict[str | None, None]] = {}
        for raw in raws:
            for name, cell in _cells(raw).items():
                columns.setdefault(name, {})[cell] = None
        self._check_names(columns)
        values = {name: [v for v in cells if v is not None] for name, cells in columns.items()}
        numbers = [name for name in columns if self._is_number(name, values[name])]
        categories = [name for name in columns if name not in numbers]
        for name in categories:
            if name not in self.categories:
                _check_category(name, values[name])
        origins = {n: o for n in numbers if (o := _origin(values[n]))}
        return {
            **({"origins": origins} if origins else {}),
            "numbers": numbers,
            "categories": [_category(name, values[name]) for name in categories],
            "indicators": [name for name in (*numbers, *categories) if None in columns[name]],
        }

    def decode(
        self, raw: Raw, layout: Mapping[str, Any], remarks: list[str] | None = None
    ) -> np.ndarray:
        """float32 [F]: numbers (from their origins on), then codes of categories (−1 unknown).

        NaN is missing. Remarks: which cells are missing.
        """
        cells = _cells(raw)
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
        (population, of the cells that are there) and `median` of a number; `code` of a category.
        """
        names = _names(layout)
        inputs = [_number_input(rows, i) for i in range(len(layout["numbers"]))]
        inputs += [_indicator_input(rows, names.index(name)) for name in layout["indicators"]]
        for i, column in enumerate(layout["categories"], start=len(layout["numbers"])):
            inputs += [_category_input(rows, i, code) for code in range(len(column["values"]))]
        return {name: [given.get(name, 0.0) for given in inputs] for name in STATISTICS} | {
            "std": [given.get("std", 1.0) for given in inputs]
        }

    def input_shape(self, layout: Mapping[str, Any]) -> tuple[int, ...]:
        """[F']."""
        one_hot = sum(len(column["values"]) for column in layout["categories"])
        return (len(layout["numbers"]) + len(layout["indicators"]) + one_hot,)

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
        texts = [_number_text(value, origins.get(name, 0.0)) for name, value in numbers]
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

    def _is_number(self, name: str, values: Sequence[str]) -> bool:
        if name in self.numbers:
            return True
        return name not in self.categories and all(parse_number(v) is not None for v in values)


STATISTICS = ("column", "number", "mean", "std", "median", "indicator", "category", "code")


def _cells(raw: Raw) -> Mapping[str, str | None]:
    if isinstance(raw, Mapping):
        return raw
    raise ConfigError("it takes rows of a table only", where="data.modality", mend="use Image")


def _names(layout: Mapping[str, Any]) -> list[str]:
    """The packed columns, in order."""
    return [*layout["numbers"], *(column["name"] for column in layout["categories"])]


def _check_category(name: str, values: Sequence[str]) -> None:
    """Raises `DataError` where its values are numbers but for a few, or numbers in another form."""
    meant = sum(_meant_as_number(value) for value in values)
    if meant < FEWEST_NUMBERS or meant < (1 - MOST_OTHERS) * len(values):
        return
    odd = next(value for value in values if parse_number(value) is None)
    raise DataError(
        f"the column {name!r} holds numbers and {odd[:40]!r}",
        where="data.modality",
        mend="mend the cells, list what stands for none in data.source.missing_values, or name the"
        " column in data.modality.numbers (such rows are refused) or .categories",
    )


def _meant_as_number(cell: str) -> bool:
    """A number to a person: with a decimal comma, blanks or a per cent sign too."""
    bare = cell.replace(",", ".", 1).replace(",", "").strip("% ")
    return parse_number(bare) is not None


def _category(name: str, values: Sequence[str]) -> dict[str, Any]:
    if len(values) > MAX_CATEGORIES:
        raise DataError(
            f"the column {name!r} has {len(values)} categories, more than {MAX_CATEGORIES}",
            where="data.modality",
            mend="list it in data.source.ignore, or, if it is a number, in data.modality.numbers",
        )
    return {"name": name, "values": natural_order(values)}


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


def _origin(cells: Sequence[str]) -> float:
    read = (parse_number(cell) for cell in cells)
    return origin(np.array([value for value in read if value is not None]))


def _number_input(rows: PackedRows, column: int) -> dict[str, float]:
    cells = rows[:, column].astype(np.float64)
    there = cells[~np.isnan(cells)]
    given = {"column": float(column), "number": 1.0}
    if len(there) == 0:
        return given
    # Rounding gives a constant column a tiny deviation, which would blow other values up.
    std = there.std() if there.min() < there.max() else 1.0
    moments = {"mean": there.mean(), "median": np.median(there), "std": std}
    return given | {name: float(value) for name, value in moments.items()}


def _indicator_input(rows: PackedRows, column: int) -> dict[str, float]:
    seen = bool(np.isnan(rows[:, column]).any())
    return {"column": float(column), "indicator": float(seen)}


def _category_input(rows: PackedRows, column: int, code: int) -> dict[str, float]:
    seen = bool((rows[:, column] == code).any())
    return {"column": float(column), "code": float(code), "category": float(seen)}


def _number_text(value: float, counted_from: float) -> str:
    if math.isnan(value):
        return "missing"
    return f"{value + counted_from:.15g}" if counted_from else f"{value:.6g}"


def _category_text(values: Sequence[str], code: float) -> str:
    if math.isnan(code):
        return "missing"
    return "unknown" if code == UNKNOWN else values[int(code)]
