"""Which rows of a prepared set each batch holds: in training in an order drawn each pass.

A function of (seed, step) alone; of it, each rank gets its part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from runforge import draws
from runforge.pace import Pace
from runforge.ranks import ALONE, Ranks

Rows = NDArray[np.int64]


class Part(NamedTuple):
    """One rank's part of a batch."""

    rows: Rows
    pass_number: int


class StepRows(NamedTuple):
    """The rows that one step of the optimiser is taken on."""

    parts: tuple[Part, ...]
    """One for each batch whose gradients are summed up."""
    rows: Rows
    """All of them, of every rank."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How training goes through its samples."""

    batch_size: int
    """Global."""
    seed: int
    steps_per_epoch: int | None = None
    accumulate: int = 1
    """Batches to each step of the optimiser."""


class BatchOrder(Sampler[tuple[StepRows, ...]]):
    """Which rows each step of an epoch trains on.

    Each pass takes all rows in an order of its own, the last batch being smaller where they don't
    come out even. An epoch is one pass, or `steps_per_epoch` batches of the stream of passes,
    which then just goes on where the epoch before stopped. Each rank gets its part of every batch.
    As many steps as `pace` says when they are asked for come together: there is no telling how many
    times will be asked, so this has no length.
    """

    def __init__(
        self,
        rows: Rows,
        keys: draws.Keys,
        plan: BatchPlan,
        *,
        pace: Pace,
        ranks: Ranks = ALONE,
    ) -> None:
        self._rows, self._keys, self._plan, self._ranks = rows, keys, plan, ranks
        self._pace, self._done = pace, 0
        self._bounds = batch_bounds(len(rows), plan.batch_size)
        self._batches = plan.steps_per_epoch or len(self._bounds)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins, after a resume too."""
        self._epoch = epoch

    def go_on(self, epoch: int, done: int) -> None:
        """Leaves out so many steps of an epoch, which is the next one."""
        self._epoch, self._done = epoch, done

    @property
    def smallest(self) -> int:
        """Samples in the smallest batch, over all ranks."""
        return min(end - begin for begin, end in self._bounds)

    def __iter__(self) -> Iterator[tuple[StepRows, ...]]:
        """The rest of the present epoch."""
        first, (done, self._done) = self._epoch * self._batches, (self._done, 0)
        last = first + self._batches
        begins = iter(range(first + done * self._plan.accumulate, last, self._plan.accumulate))
        while together := tuple(islice(begins, self._pace.steps)):
            yield tuple(
                self._step(range(begin, min(begin + self._plan.accumulate, last)))
                for begin in together
            )

    def _step(self, numbers: range) -> StepRows:
        """One step of the optimiser, on batches of these numbers in the stream of passes."""
        batches = [self._batch(number) for number in numbers]
        every = batches[0] if len(batches) == 1 else np.concatenate(batches)
        return StepRows(tuple(map(self._part, numbers, batches)), every)

    def _part(self, number: int, rows: Rows) -> Part:
        begin, end = self._ranks.share(len(rows))
        return Part(rows[begin:end], number // len(self._bounds))

    def _batch(self, step: int) -> Rows:
        pass_number, number = divmod(step, len(self._bounds))
        begin, end = self._bounds[number]
        return self._rows[self._order(pass_number)[begin:end]]

    def _order(self, pass_number: int) -> Rows:
        """The order of a pass; the last one is kept, as a pass has many batches."""
        if self._kept is None or self._kept[0] != pass_number:
            order = draws.order(self._keys, seed=self._plan.seed, pass_number=pass_number)
            self._kept = pass_number, order
        return self._kept[1]

    _kept: tuple[int, Rows] | None = None


class FixedOrder(Sampler[Rows]):
    """Every row of a split once, in blocks that do not depend on the number of ranks.

    A block goes to one rank as a whole, so that its sums come out the same bit for bit, whoever
    works on it. Every rank gets the same number of blocks; those that there are not are empty.
    """

    def __init__(
        self, rows: Rows, *, batch_size: int, limit: int | None = None, ranks: Ranks = ALONE
    ) -> None:
        begins = range(0, len(rows), batch_size)[:limit]
        self._blocks = [rows[begin : begin + batch_size] for begin in begins]
        self._ranks, self._empty = ranks, rows[:0]

    def __len__(self) -> int:
        """Blocks for each rank."""
        return -(-len(self._blocks) // self._ranks.count)

    def __iter__(self) -> Iterator[Rows]:
        """This rank's blocks."""
        own = self._blocks[self._ranks.rank :: self._ranks.count]
        yield from (*own, *[self._empty] * (len(self) - len(own)))


def steps_in_epoch(count: int, plan: BatchPlan) -> int:
    """Steps of the optimiser in an epoch of `count` training samples."""
    batches = plan.steps_per_epoch or len(batch_bounds(count, plan.batch_size))
    return math.ceil(batches / plan.accumulate)


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Begin and end of each batch of `count` samples.

    A last batch of a single sample is joined to the one before: batch norm can't learn from one.
    """
    begins = list(range(0, count, batch_size))
    if len(begins) > 1 and count - begins[-1] == 1 and batch_size > 1:
        begins.pop()
    return list(zip(begins, [*begins[1:], count], strict=True))
