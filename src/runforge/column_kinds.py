"""What a column of a table is besides numbers or categories: an id, a date, a text, nothing at all.

Told from how often each of its cells occurs, in the order of their first row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from runforge.cells import some
from runforge.notices import notice
from runforge.overrides import typed

Counts = Mapping[str | None, int]
"""Rows by cell; None is missing."""

Told = tuple[str, str]
"""What is noticed, and the hint."""

MOST_TOLD = 10
"""Columns of one kind that have a line of their own."""

FEWEST_ROWS = 20
"""Fewer say too little: that all cells are different, or all the same, is likely by chance."""

NEARLY_UNIQUE = 0.5
"""Different texts of a column by its cells: from here on they are names or sentences."""

LOOKED_AT = 2000

MANY = 50
"""Categories that are told where each has few rows."""

FEW_ROWS_EACH = 5

EMPTY, CONSTANT, IDENTITY, DATE, TEXT = "empty", "constant", "id", "date", "text"

WHAT = {
    EMPTY: "no cell has a value",
    CONSTANT: "all cells are the same",
    IDENTITY: "an id, another one in every row",
    DATE: "dates; numbers made of them (year, month, days since) can be learned from",
    TEXT: "names or texts, most of them there once",
}
"""By kind, what a person is told."""

_CALLED_ID = re.compile(
    r"(^|[^a-z])(id|ids|uid|uuid|guid|index|idx|key|nr|no|num|number|row|rownames|pk|code)$"
    r"|unnamed|^$"
)
_CAMEL_ID = re.compile(r"[a-z](Id|ID|No|Nr|Number|Index|Key)$|ID$")

_TIME = r"(?:[T ]?\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?(?:Z|[+-]\d{2}:?\d{2})?)"
_DATE = re.compile(
    rf"\s*(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}{_TIME}?"
    rf"|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}\s*{_TIME}?"
    rf"|\d{{4}}-\d{{2}}|\d{{4}}[- ]?Q[1-4]|{_TIME}"
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})\s*"
)


def kind_of(name: str, counts: Counts, numbers: np.ndarray | None) -> str | None:
    """Why a column is left out where nobody asks for it; None: it is not.

    `numbers` are its cells that are there, each once; None: they are none.
    """
    rows = sum(counts.values())
    if rows < FEWEST_ROWS:
        return None
    if len(counts) == 1:
        return EMPTY if None in counts else CONSTANT
    values = [cell for cell in counts if cell is not None]
    cells = rows - counts.get(None, 0)
    if numbers is not None:
        return IDENTITY if _numbers_rows(name, numbers, cells) else None
    if _are_dates(values):
        return DATE
    if len(values) >= max(NEARLY_UNIQUE * cells, FEWEST_ROWS):
        return IDENTITY if len(values) == cells and called_id(name) else TEXT
    return None


def called_id(name: str) -> bool:
    """Whether a person would take it for an id by its name."""
    return bool(_CALLED_ID.search(name.strip().lower()) or _CAMEL_ID.search(name.strip()))


def _numbers_rows(name: str, numbers: np.ndarray, cells: int) -> bool:
    """Whole numbers that are called an id, and are another one in nearly every row."""
    unique = len(numbers) >= 0.95 * cells and called_id(name)
    return unique and bool((numbers == np.round(numbers)).all())


def _are_dates(values: Sequence[str]) -> bool:
    looked_at = list(islice(values, LOOKED_AT))
    return sum(bool(_DATE.fullmatch(v)) for v in looked_at) >= 0.95 * len(looked_at)


def tell_left_out(left_out: Mapping[str, str]) -> None:
    """One line for each kind of columns that are left out."""
    for kind, what in WHAT.items():
        names = [name for name, found in left_out.items() if found == kind]
        if names:
            back = typed("data.modality.categories", names[:1])
            if kind == IDENTITY:
                back = typed("data.modality.numbers", names[:1])
            hint = "" if kind == EMPTY else f"to learn from it all the same: {back}"
            notice(f"left out: {some(names, 20)} ({kind}: {what})", hint=hint)


def tell(about: Sequence[Told]) -> None:
    """The first of them; how many more there are."""
    for what, hint in about[:MOST_TOLD]:
        notice(what, hint=hint)
    if len(about) > MOST_TOLD:
        notice(f"{len(about) - MOST_TOLD} more columns are of the kind of {about[0][0]}")


def of_numbers(name: str, counts: Counts, numbers: np.ndarray) -> list[Told]:
    """Of a column of numbers: that it counts the rows, or has a value that may mean missing.

    `numbers` are its cells that are there, each once, in the order of their first row.
    """
    cells = sum(counts.values()) - counts.get(None, 0)
    if cells < FEWEST_ROWS:
        return []
    told = []
    if _may_mean_missing(numbers.min()) or _may_mean_missing(numbers.max()):
        values = np.unique(numbers)
        rows = np.array([count for cell, count in counts.items() if cell is not None])
        apart = ((value, int(rows[numbers == value].sum())) for value in _apart(values))
        told = [_apart_told(name, value, count, values) for value, count in apart]
    if len(numbers) == cells and _counts_up(numbers):
        what = f"{name!r} counts the rows: if it is an id, it must not be learned from"
        told.append((what, f"to leave it out: {typed('data.source.ignore', [name])}"))
    return told


def _counts_up(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool(len(steps)) and abs(steps[0]) == 1 and bool((steps == steps[0]).all())


def _apart(values: np.ndarray) -> list[float]:
    """A least or greatest value such as -999 or 0 that lies far from all others."""
    if len(values) < 4:
        return []
    found = []
    for place, next_to, others in ((0, 1, values[1:]), (-1, -2, values[:-1])):
        value, gap = float(values[place]), abs(values[next_to] - values[place])
        spread = others.max() - others.min()
        # Nothing is below 0, there is no small number, and the others are many and near.
        zero = place == 0 and value == 0 and len(others) >= 20 and gap >= 0.2 * spread
        if zero or (value and _may_mean_missing(value) and gap > spread):
            found.append(value)
    return found


def _may_mean_missing(value: float) -> bool:
    """0, -9, -99, 99, 999 and so on."""
    nines = not -9 < value < 99 and re.fullmatch(r"9+", f"{abs(value):.0f}") is not None
    return value == 0 or (nines and float(value).is_integer())


def _apart_told(name: str, value: float, count: int, values: np.ndarray) -> Told:
    others = values[values != value]
    rows = "1 row" if count == 1 else f"{count} rows"
    what = (
        f"{name!r} is {value:g} in {rows} and lies between {others.min():g} and {others.max():g}"
        " elsewhere: it is taken as a number"
    )
    missing = typed("data.source.missing_values", ["", f"{value:g}"])
    # Zeros of other columns are meant.
    return what, f"if it stands for a missing cell: {missing if value else 'leave them empty'}"


def of_categories(name: str, counts: Counts) -> list[Told]:
    """Of a column of categories: that there are so many that few rows have each."""
    values = len(counts) - (None in counts)
    cells = sum(counts.values()) - counts.get(None, 0)
    if values <= MANY or cells >= FEW_ROWS_EACH * values:
        return []
    what = f"{name!r} has {values} categories in {cells} rows, each an input of its own"
    return [(what, f"to leave it out: {typed('data.source.ignore', [name])}")]
