"""Whether one model is better than another by more than chance: both on the same samples.

* Accuracy: McNemar's exact test (McNemar, *Note on the sampling error of the difference between
  correlated proportions*, 1947). Only samples that one model gets right and the other does not
  say anything; if neither is better, each of them is a fair coin.
* Balanced accuracy: the same with the classes weighed alike. Each sample that only one model gets
  right is a fair coin that counts 1 / (samples of its class); a permutation test (Fisher, *The
  design of experiments*, 1935, chapter 3), by 20,000 draws.
* The rest: the paired bootstrap. Both models are measured on the same resamples, so what makes a
  sample easy for both cancels; the p-value is twice the share of resamples on the far side of 0
  (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 and 15). Of fewer
  than 30 samples it would be too small, and there is none.

The main metric of classes is accuracy, or where they are imbalanced balanced accuracy: that depends
on what is true alone, not on what a model answers, so that choosing it makes no chance larger.
* More than two models: each pair, the p-values after Holm (*A simple sequentially rejective
  multiple test procedure*, 1979): of all pairs that are told apart, at most 5% of the time any is
  chance.

N samples, K models, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.special import bdtr

from runforge.metrics.balance import FEW
from runforge.metrics.bootstrap import percentile_interval
from runforge.metrics.common import Common
from runforge.metrics.names import LOWER
from runforge.metrics.together import RESAMPLES, Measured, measured, names_of

LEVEL = 0.05
"""A p-value below it is more than chance."""

MCNEMAR, PERMUTATION, BOOTSTRAP = "exact McNemar", "paired permutation", "paired bootstrap"

DRAWS = 20_000
"""Permutations that are drawn."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two models; None: it is undefined for these samples."""

    metric: str
    first: float | None
    second: float | None
    low: float | None
    high: float | None
    """95% interval of the difference."""
    p_value: float | None
    """How often chance alone makes as large a difference; after Holm's correction."""
    test: str
    better: Literal["higher", "lower"]

    @property
    def difference(self) -> float | None:
        """The second model's value less the first's."""
        if self.first is None or self.second is None:
            return None
        return self.second - self.first

    @property
    def winner(self) -> Literal["first", "second"] | None:
        """Which is better by more than chance."""
        if self.p_value is None or self.p_value >= LEVEL or not self.difference:
            return None
        return "second" if (self.difference > 0) == (self.better == "higher") else "first"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two of K models, by their numbers, and the metrics of both, the main one first."""

    first: int
    second: int
    differences: tuple[Difference, ...]


def pairs(common: Common, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Pair, ...]:
    """Every pair of the models, with p-values that are corrected for the number of pairs.

    Empty where they have no sample in common.
    """
    if not common.predictions:
        return ()
    models = measured(common, resamples, np.random.default_rng(seed))
    names = names_of(common)
    found = [
        Pair(a, b, tuple(difference(n, models[a], models[b]) for n in names))
        for a, b in combinations(range(len(models)), 2)
    ]
    return tuple(_corrected(found))


def winner(found: Sequence[Pair]) -> int | None:
    """The model that is better than every other in the main metric; None where there is none."""
    beaten: dict[int, set[int]] = {}
    for pair in found:
        won = pair.differences[0].winner
        if won is not None:
            best, other = (pair.first, pair.second)[:: 1 if won == "first" else -1]
            beaten.setdefault(best, set()).add(other)
    others = len({number for pair in found for number in (pair.first, pair.second)}) - 1
    return next((number for number, lost in beaten.items() if len(lost) == others), None)


def mcnemar(only_first: int, only_second: int) -> float:
    """p-value for so many samples that only the one, or only the other model gets right."""
    told = only_first + only_second
    if told == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), told, 0.5)))


def by_class(only_first: np.ndarray, only_second: np.ndarray, support: np.ndarray) -> float:
    """p-value for so many samples of each class that only one of two models gets right, [C] each.

    `support`: samples of each class, int64 [C]. The same numbers give the same value.
    """
    told = only_first + only_second
    kept = told > 0
    told, weights = told[kept], 1 / support[kept]
    seen = abs((only_second - only_first)[kept] @ weights)
    coins = np.random.default_rng(0).binomial(told, 0.5, size=(DRAWS, len(told)))
    drawn = np.abs((2 * coins - told) @ weights)
    # As far as that in one of one more draws: the one that was seen.
    return float((1 + np.count_nonzero(drawn >= seen * (1 - 1e-9))) / (1 + DRAWS))


def visible(told: int, count: int) -> float | None:
    """The least difference of accuracy that McNemar's test tells from chance.

    Of `count` samples of which only one model gets `told` right; None: no difference of so few.
    """
    for lost in range(told // 2, -1, -1):
        if mcnemar(lost, told - lost) < LEVEL:
            return (told - 2 * lost) / count
    return None


def p_text(p_value: float | None) -> str:
    """A p-value as a person reads it; a dash where there is none."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_sign(p_value: float | None) -> str:
    """The same after a sign: `= 0.042`, `< 0.001`."""
    text = p_text(p_value)
    return f"= {text}" if text[0].isdigit() else text


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, each as large as it must be for all of them to hold together."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    rising = np.maximum.accumulate(np.array(p_values)[order] * factors)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(rising, 1.0)
    return [float(value) for value in corrected]


def resampled_p_value(differences: np.ndarray) -> float:
    """Two-sided, of differences [R] in resamples; never 0, as R of them can't tell that."""
    below, above = np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0)
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1)))


def difference(name: str, first: Measured, second: Measured) -> Difference:
    """One metric of two models that are measured on the same resamples of the same samples."""
    better: Literal["higher", "lower"] = "lower" if name in LOWER else "higher"
    a, b = first.values[name], second.values[name]
    if np.isnan(a) or np.isnan(b):
        one, other = (None if np.isnan(value) else value for value in (a, b))
        return Difference(name, one, other, None, None, None, BOOTSTRAP, better)
    moved = second.resampled[name] - first.resampled[name]
    moved = moved[np.isfinite(moved)]
    if name == "calibration_error":
        moved = moved - np.median(moved) + b - a  # see `calibration.centred`
    interval = percentile_interval(moved)
    test, p_value = _tested(name, first, second, moved)
    return Difference(name, a, b, interval.low, interval.high, p_value, test, better)


def _tested(
    name: str, first: Measured, second: Measured, moved: np.ndarray
) -> tuple[str, float | None]:
    """The test of a metric, and its p-value."""
    if name in ("accuracy", "balanced_accuracy"):
        (only_first, support), (only_second, _) = _told(first, second), _told(second, first)
        if name == "accuracy":
            return MCNEMAR, mcnemar(int(only_first.sum()), int(only_second.sum()))
        return PERMUTATION, by_class(only_first, only_second, support)
    if first.count < FEW:
        return "too few samples", None
    return BOOTSTRAP, resampled_p_value(moved)


def _corrected(found: Sequence[Pair]) -> list[Pair]:
    """Each metric's p-values after Holm's correction over the pairs."""
    columns = []
    for same in zip(*(pair.differences for pair in found), strict=True):
        known = [one.p_value for one in same if one.p_value is not None]
        rising = iter(holm(known))
        columns.append(
            [one if one.p_value is None else replace(one, p_value=next(rising)) for one in same]
        )
    rows = zip(*columns, strict=True)
    return [replace(pair, differences=tuple(row)) for pair, row in zip(found, rows, strict=True)]


def _told(model: Measured, other: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Samples of each class that only this model gets right, and of each class, int64 [C]."""
    assert model.right is not None and other.right is not None and model.targets is not None
    support = np.bincount(model.targets)
    return np.bincount(model.targets[model.right & ~other.right], minlength=len(support)), support
