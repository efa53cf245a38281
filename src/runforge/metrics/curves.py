"""ROC and precision–recall curves as few points as draw them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from runforge.metrics.figures import Curve, Series

MOST_POINTS = 400
"""Points of a line: more can't be seen, and fill reports with data."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a curve is, apart from its points."""

    title: str
    x_name: str
    y_name: str
    diagonal: bool


SHAPES = {
    "roc": Shape("ROC", "false_positive_rate", "true_positive_rate", True),
    "precision_recall": Shape("Precision and recall", "recall", "precision", False),
}


def area_curve(name: str, lines: Iterable[Series]) -> Curve:
    """A curve of `SHAPES` with one line for each class."""
    shape = SHAPES[name]
    thinned = tuple(thin(line) for line in lines)
    return Curve(name, shape.title, shape.x_name, shape.y_name, thinned, shape.diagonal)


def thin(line: Series) -> Series:
    """A line of at most `MOST_POINTS` points, the corners first, its ends always."""
    kept = _corners(line.x, line.y)
    if len(kept) > MOST_POINTS:
        places = np.linspace(0, len(kept) - 1, MOST_POINTS).round().astype(np.int64)
        kept = kept[places]
    return Series(line.name, line.x[kept], line.y[kept])


def _corners(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points that are not in the middle of a level or upright stretch, int64 [K]."""
    level, upright = np.diff(y) == 0, np.diff(x) == 0
    between = (level[1:] & level[:-1]) | (upright[1:] & upright[:-1])
    return np.flatnonzero(np.concatenate([[True], ~between, [True]]))
