"""Which columns of a table are numbers, which categories, and which are left out.

A column is known by how often each of its cells occurs; None is a missing cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from runforge.column_kinds import TEXT, kind_of, of_categories, of_numbers, tell
from runforge.errors import ConfigError, DataError
from runforge.ordering import natural_order
from runforge.overrides import typed
from runforge.sample import Raw, parse_number
from runforge.single_precision import origin as origin_of

MAX_CATEGORIES = 1000
"""More than that in one column is no category but a name, a text or a number gone wrong."""

COUNTED_ROWS = 4096
"""Rows whose cells are counted at a time."""

FEWEST_NUMBERS, MOST_OTHERS = 5, 0.2
"""A column of so many different numbers, and of at most this share of other texts, is no category
as it stands: one cell of `?` or `1e999` would have turned its numbers into names."""


def cells_of(raw: Raw) -> Mapping[str, str | None]:
    """A row's cells by name; raises `ConfigError` for what is no row."""
    if isinstance(raw, Mapping):
        return raw
    raise ConfigError("it takes rows of a table only", where="data.modality", mend="use Image")


def counted(raws: Iterable[Raw]) -> dict[str, Counter[str | None]]:
    """How often each cell occurs in each column, in the order of first rows."""
    columns: dict[str, Counter[str | None]] = {}
    rows = iter(raws)
    while some := [cells_of(raw) for raw in islice(rows, COUNTED_ROWS)]:
        names = some[0].keys()
        if all(raw.keys() == names for raw in some):
            for name in names:
                columns.setdefault(name, Counter()).update([raw[name] for raw in some])
            continue
        for name in dict.fromkeys(chain.from_iterable(some)):
            columns.setdefault(name, Counter()).update(raw[name] for raw in some if name in raw)
    return columns


def kind(name: str, counts: Counter[str | None], numbers: np.ndarray | None) -> str | None:
    """What it is left out for; None: it is kept."""
    if numbers is None and _mistaken([cell for cell in counts if cell is not None]):
        return None
    found = kind_of(name, counts, numbers)
    return TEXT if found is None and numbers is None and len(counts) > MAX_CATEGORIES else found


def tell_columns(
    columns: Mapping[str, Counter[str | None]],
    parsed: Mapping[str, np.ndarray | None],
    numbers: Sequence[str],
    categories: Sequence[str],
) -> None:
    """Tells what a person should know of the columns that are kept."""
    given = ((name, parsed[name]) for name in numbers)
    told = (of_numbers(name, columns[name], of) for name, of in given if of is not None)
    tell([one for of_column in told for one in of_column])
    tell([told for name in categories for told in of_categories(name, columns[name])])


def check_category(name: str, values: Sequence[str]) -> None:
    """Raises `DataError` where its values are numbers but for a few, or numbers in another form."""
    if not _mistaken(values):
        return
    odd = next(value for value in values if parse_number(value) is None)
    missing = typed("data.source.missing_values", ["", odd[:40]])
    raise DataError(
        f"the column {name!r} holds numbers and {odd[:40]!r}",
        where="data.modality",
        mend=f"mend the cells; if they are missing: {missing}; or name the column in"
        " data.modality.numbers (such rows are refused) or .categories",
    )


def _mistaken(values: Sequence[str]) -> bool:
    """Whether categories are numbers but for a few, or numbers in another form."""
    meant = sum(_meant_as_number(value) for value in values)
    return meant >= FEWEST_NUMBERS and meant >= (1 - MOST_OTHERS) * len(values)


def _meant_as_number(cell: str) -> bool:
    """A number to a person: with a decimal comma, blanks or a per cent sign too."""
    bare = cell.replace(",", ".", 1).replace(",", "").strip("% ")
    return parse_number(bare) is not None


def category(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Its name and values, in natural order; raises `DataError` where they are too many."""
    if len(values) > MAX_CATEGORIES:
        raise DataError(
            f"the column {name!r} has {len(values)} categories, more than {MAX_CATEGORIES}",
            where="data.modality",
            mend="list it in data.source.ignore, or, if it is a number, in data.modality.numbers",
        )
    return {"name": name, "values": natural_order(values)}


def origin(cells: Sequence[str], parsed: np.ndarray | None) -> float:
    """What a column of numbers is counted from; 0 where 32-bit floats tell them apart."""
    if parsed is None:  # named as numbers: the rows of other cells are refused
        read = (parse_number(cell) for cell in cells)
        parsed = np.array([value for value in read if value is not None])
    return origin_of(parsed)
