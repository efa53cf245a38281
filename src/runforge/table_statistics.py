"""What the inputs of a table's network are made of, as training's rows have it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runforge.sample import PackedRows

STATISTICS = (
    *("column", "number", "mean", "std", "median", "least", "greatest"),
    *("indicator", "category", "code"),
)


def number_input(rows: PackedRows, column: int) -> dict[str, float]:
    """Of a packed column of numbers; NaN is missing."""
    cells = rows[:, column].astype(np.float64)
    there = cells[~np.isnan(cells)]
    given = {"column": float(column), "number": 1.0}
    if len(there) == 0:
        return given
    # Rounding gives a constant column a tiny deviation, which would blow other values up.
    std = there.std() if there.min() < there.max() else 1.0
    moments = {"mean": there.mean(), "median": np.median(there), "std": std}
    ends = {"least": there.min(), "greatest": there.max()}
    return given | {name: float(value) for name, value in (moments | ends).items()}


def indicator_input(rows: PackedRows, column: int) -> dict[str, float]:
    """Of a column with missing cells; used only where training has one."""
    seen = bool(np.isnan(rows[:, column]).any())
    return {"column": float(column), "indicator": float(seen)}


def category_input(rows: PackedRows, column: int, code: int) -> dict[str, float]:
    """Of one category of a column; used only where training has it."""
    seen = bool((rows[:, column] == code).any())
    return {"column": float(column), "code": float(code), "category": float(seen)}


def far_outside(
    numbers: np.ndarray, layout: Mapping[str, Any], statistics: Mapping[str, Sequence[float]]
) -> list[str]:
    """Numbers further from those of training than these are from one another.

    A model of an older version does not know their ends.
    """
    if "least" not in statistics:
        return []
    names, origins = layout["numbers"], layout.get("origins", {})
    low, high = (np.array(statistics[end][: len(names)]) for end in ("least", "greatest"))
    away = np.maximum(low - numbers, numbers - high)
    told = []
    for i in np.flatnonzero(away > np.maximum(high - low, 0)).tolist():
        said, least, most = (
            number_text(float(value[i]), origins.get(names[i], 0.0))
            for value in (numbers, low, high)
        )
        told.append(f"{names[i]!r} is {said}, far outside of training's {least} to {most}")
    return told


def number_text(value: float, counted_from: float) -> str:
    """A packed number as a person reads it."""
    if math.isnan(value):
        return "missing"
    return f"{value + counted_from:.15g}" if counted_from else f"{value:.6g}"
