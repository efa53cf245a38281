"""95% intervals by resampling the evaluated samples.

The bootstrap's percentile interval (Efron and Tibshirani, *An Introduction to the Bootstrap*,
1993, chapter 13). R resamples, N samples. Two ways to resample, both with replacement:

* What only depends on the confusion matrix is computed from resampled matrices. A resample's
  matrix is one multinomial draw over the cells, so this is exact and costs nothing in N.
* The rest is computed from weights, how often each sample is in the resample.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from runforge.metrics.rates import Margins

TAIL = 0.025
"""Share of the resamples on each side of a 95% interval."""

CHUNK = 1_000_000
"""Numbers that a chunk of resamples holds: small enough for the processor's cache."""

MANY_CELLS = 20_000
"""Cells of a confusion matrix that are not 0: of more, wrong answers are drawn one by one."""

MOST_WORK = 200_000_000
"""Samples × classes × resamples that are done in full: some seconds. See `Subset`."""

Chunk = TypeVar("Chunk")

Resampled = Mapping[str, np.ndarray]
"""Metrics by name, float64 [R], nan where a resample leaves one undefined."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a 95% interval; both None where no resample says anything."""

    low: float | None
    high: float | None

    @property
    def is_point(self) -> bool:
        """No resample differs, but for the rounding of sums."""
        if self.low is None or self.high is None:
            return False
        return self.high - self.low <= 1e-12 * abs(self.high)


def percentile_interval(resampled: np.ndarray) -> Interval:
    """The middle 95% of the resamples that define the metric, `resampled` [R]."""
    defined = resampled[np.isfinite(resampled)]
    if not len(defined):
        return Interval(None, None)
    low, high = np.quantile(defined, [TAIL, 1 - TAIL])
    return Interval(float(low), float(high))


def collect(
    chunks: Iterable[Chunk], statistic: Callable[[Chunk], Resampled]
) -> dict[str, np.ndarray]:
    """`statistic` over all resamples, on all cores: metric by name, float64 [R]."""
    parts = list(_in_order(chunks, statistic))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _in_order(
    chunks: Iterable[Chunk], statistic: Callable[[Chunk], Resampled]
) -> Iterator[Resampled]:
    """The chunks are drawn one after another; only a few are in memory at a time."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque[Future[Resampled]]()
        for chunk in chunks:
            waiting.append(pool.submit(statistic, chunk))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        yield from (done.result() for done in waiting)


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


def resampled_margins(
    counts: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[Margins]:
    """What the confusion matrices of resamples come to, [r, C] each, in chunks.

    Of very many cells each resample draws its wrong answers one by one, not how often each cell is
    in it: the same distribution, and a resample's matrix is never made.
    """
    if np.count_nonzero(counts) <= MANY_CELLS:
        yield from (Margins.of(drawn) for drawn in resampled_counts(counts, resamples, generator))
        return
    right = np.diagonal(counts)
    cells = np.nonzero(counts - np.diag(right))
    wrong = np.repeat(np.array(cells, np.int32), counts[cells], axis=1)
    shares = np.append(right, wrong.shape[1]) / counts.sum()
    for size in _sizes(resamples, len(counts)):
        drawn = generator.multinomial(int(counts.sum()), shares, size=size)
        hits = drawn[:, :-1]
        parts = [_drawn_wrong(wrong, number, len(counts), generator) for number in drawn[:, -1]]
        true, predicted = np.array(parts).transpose(1, 0, 2)
        yield Margins(hits, hits + true, hits + predicted)


def _drawn_wrong(
    wrong: np.ndarray, number: int, classes: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """So many wrong answers, drawn with replacement, by true and by predicted class, [C] each.

    `wrong` [2, W]: the two classes of each.
    """
    rows = generator.integers(0, wrong.shape[1], number, dtype=np.int32)
    return [np.bincount(classes_of[rows], minlength=classes) for classes_of in wrong]


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
