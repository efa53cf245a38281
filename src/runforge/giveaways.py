"""Columns that give the target away: one that says it alone, several whose sum it is.

N samples, F packed columns. Looked for in a part of the training rows, and believed only where the
validation rows say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runforge.notices import notice
from runforge.overrides import typed

MOST_ROWS = 20_000
FEWEST_ROWS = 10
"""Of training and of validation; fewer agree by chance."""

MOST_COLUMNS = 300
"""That a sum is looked for in."""

NEARLY_ALL = 0.98
"""Share of what there is to say of the target (over the most frequent class, the mean)."""

EXACT = 1e-4
"""Share of the target's variance that a sum of columns may leave."""

BINS, FEWEST_EACH = 64, 5
WEIGHTS_SHOWN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one split: columns [n, F], float64, NaN for missing; targets [n]."""

    columns: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What is looked at, and what its columns and its target are called."""

    training: Rows
    validation: Rows
    names: Sequence[str]
    number_count: int
    """The first columns are numbers, the others codes of categories."""
    target_name: str
    classes: Sequence[str]
    """Empty where the target is a value."""

    def enough(self) -> bool:
        """Whether there are rows to believe."""
        return min(len(self.training), len(self.validation)) >= FEWEST_ROWS


def tell(table: Table) -> None:
    """Tells of each column that predicts the target alone, and of a sum of columns that is it."""
    if not table.enough():
        return
    alone = {name: share for name, share in _alone(table).items() if share >= NEARLY_ALL}
    for name in alone:
        _tell_alone(table, name)
    if not table.classes and not alone:
        _tell_sum(table)


def _alone(table: Table) -> Mapping[str, float]:
    """By column, how much of the target it says alone, 0..1."""
    said = _class_said if table.classes else _value_said
    return {name: said(table, place) for place, name in enumerate(table.names)}


def _tell_alone(table: Table, name: str) -> None:
    place = table.names.index(name)
    if table.classes:
        right, usual = _accuracies(table, place)
        figures = (
            f"right in {right:.1%} of the validation rows, where the most frequent class is"
            f" right in {usual:.1%}"
        )
    else:
        figures = f"alone it gives R² {_value_said(table, place):.4f}"
    notice(
        f"the column {name!r} alone predicts {table.target_name!r}: {figures}; if it is not known"
        " when a prediction is made, no figure can be believed",
        hint=f"to leave it out: {typed('data.source.ignore', [name])}",
    )


def _class_said(table: Table, place: int) -> float:
    """The least of what it says over the most frequent class, in training and validation."""
    if place < table.number_count and len(table.classes) == 2 and _ranked(table, place):
        return 1.0
    given = (table.training, table.validation)
    return min(_gain(rows, table, place) for rows in given)


def _gain(rows: Rows, table: Table, place: int) -> float:
    usual = np.bincount(rows.targets).max() / len(rows)
    right = float((_by_bin(table, place, rows) == rows.targets).mean())
    return (right - usual) / (1 - usual) if usual < 1 else 0.0


def _accuracies(table: Table, place: int) -> tuple[float, float]:
    rows = table.validation
    right = max((_by_bin(table, place, rows) == rows.targets).mean(), _threshold(table, place))
    usual = np.bincount(table.training.targets).argmax()
    return float(right), float((rows.targets == usual).mean())


def _threshold(table: Table, place: int) -> float:
    """How many of the validation rows one threshold of training's predicts, 0..1."""
    if place >= table.number_count or len(table.classes) != 2:
        return 0.0
    column, targets = table.training.columns[:, place], table.training.targets
    low, high = (np.nanmean(column[targets == code]) for code in (0, 1))
    sign = 1.0 if high >= low else -1.0
    cut = (np.nanmin(sign * column[targets == 1]) + np.nanmax(sign * column[targets == 0])) / 2
    found = sign * table.validation.columns[:, place] > cut
    return float((found == (table.validation.targets == 1)).mean())


def _ranked(table: Table, place: int) -> bool:
    """Whether the classes lie apart, as they do on both sides of one threshold."""
    for rows in (table.training, table.validation):
        column = rows.columns[:, place]
        one, other = column[rows.targets == 0], column[rows.targets == 1]
        if min(len(one), len(other)) < 2 or np.isnan(column).any():
            return False
        if not (one.max() < other.min() or other.max() < one.min()):
            return False
    return True


def _by_bin(table: Table, place: int, rows: Rows) -> np.ndarray:
    """The class that is most frequent in training among rows of the same value, or near it."""
    edges = _edges(table.training.columns[:, place])
    codes, asked = (_binned(r.columns[:, place], edges) for r in (table.training, rows))
    counts = np.zeros((len(edges) + 2, len(table.classes)), np.int64)
    np.add.at(counts, (codes, table.training.targets), 1)
    usual = np.bincount(table.training.targets).argmax()
    best = np.where(counts.sum(1) >= FEWEST_EACH, counts.argmax(1), usual)
    found: np.ndarray = best[asked]
    return found


def _value_said(table: Table, place: int) -> float:
    """The least share of the target's variance, in training and validation."""
    training, given = table.training, (table.training, table.validation)
    if place < table.number_count:
        return min(_rank_correlation(r.columns[:, place], r.targets) ** 2 for r in given)
    edges = _edges(training.columns[:, place])
    codes = _binned(training.columns[:, place], edges)
    counts = np.bincount(codes, minlength=len(edges) + 2)
    sums = np.bincount(codes, training.targets, len(edges) + 2)
    means = np.where(counts >= FEWEST_EACH, sums / np.maximum(counts, 1), training.targets.mean())
    return min(_explained(r.targets, means[_binned(r.columns[:, place], edges)]) for r in given)


def _edges(column: np.ndarray) -> np.ndarray:
    """Between values where there are few, else such that as many rows lie between two of them."""
    there = column[~np.isnan(column)]
    values, most = np.unique(there), max(2, min(BINS, len(there) // (2 * FEWEST_EACH)))
    if len(values) <= most:
        edges: np.ndarray = (values[1:] + values[:-1]) / 2
        return edges
    quantiles = np.linspace(0, 1, most + 1)[1:-1]
    return np.asarray(np.unique(np.quantile(there, quantiles)))


def _binned(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """0 where it is missing."""
    bins: np.ndarray = np.where(np.isnan(column), 0, np.searchsorted(edges, column) + 1)
    return bins


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    both = ~np.isnan(one)
    one, other = (_ranks(values[both]) for values in (one, other))
    if both.mean() < NEARLY_ALL or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, the mean of them for values that are equal."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = (ends - (counts - 1) / 2)[places]
    return ranks


def _explained(targets: np.ndarray, predicted: np.ndarray) -> float:
    spread = targets.var()
    return 1 - float(((targets - predicted) ** 2).mean() / spread) if spread else 0.0


def _tell_sum(table: Table) -> None:
    places = _promising(table)
    training, validation = (_whole(rows, places) for rows in (table.training, table.validation))
    if len(training) < 3 * len(places) + FEWEST_ROWS or len(validation) < FEWEST_ROWS:
        return
    center, scale = training.columns.mean(0), training.columns.std(0)
    varied = scale > 0
    places, scale = places[varied], scale[varied]
    first, second = (
        (r.columns[:, varied] - center[varied]) / scale for r in (training, validation)
    )
    mean, spread = training.targets.mean(), training.targets.std()
    if not spread or not len(places):
        return
    weights, *_ = np.linalg.lstsq(first, training.targets - mean, rcond=1e-9)
    left = 1 - _explained(validation.targets, mean + second @ weights)
    if left > EXACT:
        return
    part = np.flatnonzero(np.abs(weights) > 1e-3 * spread)
    part = part[np.argsort(-np.abs(weights[part]))]
    _tell_weights(table, [(table.names[places[i]], weights[i] / scale[i]) for i in part], 1 - left)


def _promising(table: Table) -> np.ndarray:
    """Numbers that are hardly ever missing, the most correlated ones where there are many."""
    columns, targets = table.training.columns[:, : table.number_count], table.training.targets
    there = np.flatnonzero(np.isnan(columns).mean(0) < 0.1)
    if len(there) <= MOST_COLUMNS:
        return there
    strengths = [abs(_rank_correlation(columns[:, place], targets)) for place in there]
    return there[np.argsort(-np.array(strengths), kind="stable")[:MOST_COLUMNS]]


def _whole(rows: Rows, places: np.ndarray) -> Rows:
    """Without rows that lack one of the columns."""
    columns = rows.columns[:, places]
    there = ~np.isnan(columns).any(1)
    return Rows(columns[there], rows.targets[there])


def _tell_weights(table: Table, parts: Sequence[tuple[str, float]], explained: float) -> None:
    shown = " + ".join(f"{weight:.4g} × {name!r}" for name, weight in parts[:WEIGHTS_SHOWN])
    more = f" and {len(parts) - WEIGHTS_SHOWN} more" if len(parts) > WEIGHTS_SHOWN else ""
    leave = typed("data.source.ignore", [name for name, _ in parts[:WEIGHTS_SHOWN]])
    notice(
        f"{table.target_name!r} is a linear combination of inputs, {shown.replace('+ -', '- ')}"
        f"{more} (R² {explained:.6f} on the validation rows): there is nothing to learn",
        hint=f"if it is computed from them: {leave}",
    )
