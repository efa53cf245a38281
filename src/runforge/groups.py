"""Rows that belong together (of one patient, one shop, one day) and lie in several splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from runforge.notices import notice
from runforge.overrides import typed
from runforge.sample import Raw

MOST_ROWS = 100_000
"""The first ones; a group has few, and they are mostly near one another."""

FEWEST_GROUPS, FEWEST_ROWS = 10, 30
MOST_EACH = 0.1
"""Share of the rows that a group has on average at most."""

MOST_CONSTANT = 0.95
"""Of another column: the share of neighbours in a group that are the same in it."""

_CALLED_GROUP = re.compile(
    r"patient|subject|person|user|customer|client|member|participant|speaker|animal|household"
    r"|family|session|visitor|student|device|group|(^|[^a-z])(id|uid|uuid|guid)$"
)
_CAMEL_ID = re.compile(r"[a-z]I[dD]$|ID$")


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column's cells as codes [N], -1 for missing."""

    name: str
    codes: np.ndarray
    count: int
    """Different values."""
    is_input: bool
    are_names: bool = True
    """Of a thing each: no measurements."""


def of_numbers(name: str, numbers: np.ndarray) -> Column:
    """Numbers, NaN for missing; only whole ones may be names of something."""
    numbers = numbers[:MOST_ROWS]
    there = ~np.isnan(numbers)
    whole = bool((numbers[there] == np.round(numbers[there])).all())
    values, places = np.unique(numbers[there], return_inverse=True)
    codes = np.full(len(numbers), -1)
    codes[there] = places
    return Column(name, codes, len(values), is_input=True, are_names=whole)


def of_cells(rows: Iterable[Raw], names: Sequence[str]) -> list[Column]:
    """Columns of raw rows of a table."""
    known: list[dict[str | None, int]] = [{None: -1} for _ in names]
    codes: list[list[int]] = [[] for _ in names]
    for row in islice(rows, MOST_ROWS):
        assert isinstance(row, dict)
        for name, numbers, found in zip(names, known, codes, strict=True):
            found.append(numbers.setdefault(row.get(name), len(numbers) - 1))
    given = zip(names, known, codes, strict=True)
    return [
        Column(name, np.array(found), len(numbers) - 1, is_input=False)
        for name, numbers, found in given
    ]


def tell(columns: Sequence[Column], targets: np.ndarray, splits: np.ndarray) -> None:
    """Tells of columns whose values each have a few rows, which lie in several splits."""
    targets, splits = targets[:MOST_ROWS], splits[:MOST_ROWS]
    if len(splits) < FEWEST_ROWS:
        return
    candidates = [column for column in columns if _may_be_groups(column)]
    classes, places = np.unique(targets, return_inverse=True)
    target = Column("", places, len(classes), is_input=False)
    others = [target, *(column for column in columns if column not in candidates)]
    told = list[Column]()
    for column in candidates:
        if any(_is_constant(other, column) and other.count == column.count for other in told):
            continue
        apart, same = _apart(column, splits), [_is_constant(column, other) for other in others]
        # Equal rows lie in one split; others that do were put there.
        if (apart or all(same)) and (_is_called_a_group(column) or (any(same) and _follow(column))):
            told.append(column)
            _tell(column, apart)


def _may_be_groups(column: Column) -> bool:
    rows = int((column.codes >= 0).sum())
    few = column.count < FEWEST_GROUPS
    if few or not column.are_names or rows < 0.9 * len(column.codes):
        return False
    return 2 * column.count <= rows and rows / column.count <= max(MOST_EACH * rows, 2)


def _is_called_a_group(column: Column) -> bool:
    return bool(_CALLED_GROUP.search(column.name.lower()) or _CAMEL_ID.search(column.name))


def _follow(column: Column) -> bool:
    """Whether rows of one value stand together, more than by chance."""
    neighbours = float((column.codes[1:] == column.codes[:-1]).mean())
    possible = 1 - column.count / len(column.codes)
    return neighbours >= 0.5 * possible


def _is_constant(column: Column, other: Column) -> bool:
    """Whether the other column is the same in all rows of a value, far more than by chance."""
    order = np.argsort(column.codes, kind="stable")
    groups, values = column.codes[order], other.codes[order]
    together = groups[1:] == groups[:-1]
    if other.count < 2 or not together.any():
        return False
    shares = np.bincount(values - values.min()) / len(values)
    by_chance = float((shares**2).sum())
    alike = float((values[1:] == values[:-1])[together].mean())
    return by_chance < 0.8 and alike >= MOST_CONSTANT


def _apart(column: Column, splits: np.ndarray) -> int:
    """How many values lie in more than one split."""
    there = column.codes >= 0
    pairs = set(zip(column.codes[there].tolist(), splits[there].tolist(), strict=True))
    return sum(count > 1 for count in Counter(code for code, _ in pairs).values())


def _tell(column: Column, apart: int) -> None:
    each = len(column.codes) / column.count
    found = f"{apart} of them in more than one split" if apart else "equal rows, in one split"
    leave = f"; it is an input too, to leave it out: {typed('data.source.ignore', [column.name])}"
    notice(
        f"the {column.count} values of {column.name!r} have {each:.3g} rows each, {found}: if they"
        " are of one person or thing, they are no independent samples, and figures look too good",
        hint="to keep them together, name a column that says train, validation or test in"
        f" data.source.split_column{leave if column.is_input else ''}",
    )
