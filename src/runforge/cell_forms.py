"""One value written in several ways: a category is what it means, whoever wrote the cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
"""As programs write it. `007` is none: it is a code, and another one than `7`."""

_TRUTH = ("true", "false")


def category_index(cell: str, values: Sequence[str]) -> int | None:
    """Which of the known values a cell is; None where it is none of them.

    Where no value is the same text, one that a program writes for the same: a column that lost
    its missing cells comes as `1` and not as `1.0`, truth is `True` in Python and `true` in JSON.
    """
    if cell in values:
        return values.index(cell)
    form = _form(cell)
    same = [i for i, value in enumerate(values) if form is not None and _form(value) == form]
    return same[0] if len(same) == 1 else None


def _form(cell: str) -> float | str | None:
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return cell.casefold() if cell.casefold() in _TRUTH else None
