"""95% intervals by resampling the evaluated samples.

The bootstrap's percentile interval (Efron and Tibshirani, *An Introduction to the Bootstrap*,
1993, chapter 13). R resamples, N samples. Two ways to resample, both with replacement:

* What only depends on the confusion matrix is computed from resampled matrices. A resample's
  matrix is one multinomial draw over the cells, so this is exact and costs nothing in N.
* The rest is computed from weights, how often each sample is in the resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

TAIL = 0.025
"""Share of the resamples on each side of a 95% interval."""

CHUNK = 1_000_000
"""Numbers that a chunk of resamples holds: small enough for the processor's cache."""

MOST_WORK = 200_000_000
"""Samples × classes × resamples that are done in full: some seconds. See `Subset`."""

Resampled = Mapping[str, np.ndarray]
"""Metrics by name, float64 [R], nan where a resample leaves one undefined."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a 95% interval; both None where no resample says anything."""

    low: float | None
    high: float | None


def percentile_interval(resampled: np.ndarray) -> Interval:
    """The middle 95% of the resamples that define the metric, `resampled` [R]."""
    defined = resampled[np.isfinite(resampled)]
    if not len(defined):
        return Interval(None, None)
    low, high = np.quantile(defined, [TAIL, 1 - TAIL])
    return Interval(float(low), float(high))


def collect(
    chunks: Iterable[np.ndarray], statistic: Callable[[np.ndarray], Resampled]
) -> dict[str, np.ndarray]:
    """`statistic` over all resamples: metric by name, float64 [R]."""
    parts = [statistic(chunk) for chunk in chunks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def resampled_counts(
    counts: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Confusion matrices of resamples, int64 [r, C, C], in chunks; `counts` is int64 [C, C]."""
    cells = np.flatnonzero(counts)
    shares = counts.ravel()[cells] / counts.sum()
    for size in _sizes(resamples, counts.size):
        dense = np.zeros((size, counts.size), dtype=np.int64)
        dense[:, cells] = generator.multinomial(int(counts.sum()), shares, size=size)
        yield dense.reshape(size, *counts.shape)


def resampled_weights(
    count: int, resamples: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """How often each of N samples is in a resample, int32 [r, N], in chunks."""
    for size in _sizes(resamples, count):
        drawn = generator.integers(0, count, size=(size, count), dtype=np.int64)
        drawn += np.arange(size)[:, None] * count
        counted = np.bincount(drawn.ravel(), minlength=size * count)
        yield counted.reshape(size, count).astype(np.int32)


def _sizes(resamples: int, width: int) -> list[int]:
    """Resamples in each chunk."""
    size = min(resamples, max(1, CHUNK // width))
    whole, rest = divmod(resamples, size)
    return [size] * whole + [rest] * (rest > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """The samples that are resampled: all, or so many of very many that it ends in time.

    Resamples of m of N samples spread √(N/m) times too wide, for every metric whose error falls
    with √N (Bickel, Götze and van Zwet, *Resampling fewer than n observations*, 1997);
    `rescale` takes that back.
    """

    rows: np.ndarray
    """int64 [m], ascending."""
    count: int
    """N."""

    @classmethod
    def of(
        cls,
        count: int,
        classes: int,
        resamples: int,
        generator: np.random.Generator,
        *,
        most_work: int = MOST_WORK,
    ) -> Subset:
        """The subset of N = `count` samples that the work allows."""
        size = max(1, min(count, most_work // (classes * resamples)))
        if size == count:
            return cls(np.arange(count), count)
        return cls(np.sort(generator.choice(count, size, replace=False)), count)

    def rescale(self, resampled: np.ndarray, own: float, value: float) -> np.ndarray:
        """Resamples of the subset [R], moved and narrowed to what all N samples would give.

        `own` is the metric of the subset itself, `value` that of all samples.
        """
        if len(self.rows) == self.count:
            return resampled
        return np.asarray(value + (resampled - own) * np.sqrt(len(self.rows) / self.count))
