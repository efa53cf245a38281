"""From a prepared set to batches: whole blocks of rows, drawn by index.

B samples in a batch, D draws for each. Which samples a step sees, and their draws, are functions
of (seed, step) and (seed, pass, sample id): nothing here carries random state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from runforge import draws
from runforge.errors import DataError
from runforge.prepared import PreparedSet

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """What one step gets."""

    inputs: Tensor
    """Packed rows [B, *packed_shape], in the packed type."""
    targets: Tensor
    """[B]: int64 indices of classes, or float32 values in the target's unit."""
    draws: Tensor
    """float32 [B, D] in [0, 1); D is 0 in validation and test."""
    rows: Tensor
    """int64 [B]: the rows of the prepared set."""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one batch, and the pass over the data that it belongs to."""

    rows: Rows
    pass_number: int


class BatchOrder(Sampler[Block]):
    """Which rows each step of an epoch trains on.

    Each pass takes all rows in an order of its own, the last batch being smaller where they don't
    come out even. An epoch is one pass, or `steps_per_epoch` batches of the stream of passes,
    which then just goes on where the epoch before stopped.
    """

    def __init__(
        self,
        rows: Rows,
        keys: draws.Keys,
        *,
        batch_size: int,
        seed: int,
        steps_per_epoch: int | None,
    ) -> None:
        self._rows, self._keys, self._seed = rows, keys, seed
        self._bounds = batch_bounds(len(rows), batch_size)
        self._steps = steps_per_epoch or len(self._bounds)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins, after a resume too."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self._steps

    def __iter__(self) -> Iterator[Block]:
        """The blocks of the present epoch."""
        first = self._epoch * self._steps
        pass_number, order = -1, self._rows
        for step in range(first, first + self._steps):
            if pass_number != step // len(self._bounds):
                pass_number = step // len(self._bounds)
                order = draws.order(self._keys, seed=self._seed, pass_number=pass_number)
            begin, end = self._bounds[step % len(self._bounds)]
            yield Block(self._rows[order[begin:end]], pass_number)


class FixedOrder(Sampler[Block]):
    """Every row of a split once, in the order of the prepared set."""

    def __init__(self, rows: Rows, *, batch_size: int) -> None:
        self._rows, self._batch_size = rows, batch_size

    def __len__(self) -> int:
        """Batches in the split."""
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[Block]:
        """The blocks of the split."""
        for begin in range(0, len(self._rows), self._batch_size):
            yield Block(self._rows[begin : begin + self._batch_size], 0)


class BlockDataset(Dataset[Batch]):
    """A prepared set that is indexed by whole blocks."""

    def __init__(
        self, prepared: PreparedSet, keys: draws.Keys, *, seed: int, draw_count: int
    ) -> None:
        self._prepared, self._keys = prepared, keys
        self._seed, self._draw_count = seed, draw_count

    def __getitem__(self, block: Block) -> Batch:
        """The block's samples, copied out of the memory-mapped arrays by NumPy."""
        drawn = draws.uniform(
            self._keys[block.rows] if self._draw_count else np.empty(len(block.rows), np.uint64),
            seed=self._seed,
            pass_number=block.pass_number,
            count=self._draw_count,
        )
        return Batch(
            torch.from_numpy(np.asarray(self._prepared.inputs[block.rows])),
            torch.from_numpy(np.asarray(self._prepared.targets[block.rows])),
            torch.from_numpy(drawn),
            torch.from_numpy(block.rows.copy()),
        )


class PackedData(LightningDataModule):
    """The loaders of a prepared set; raises `DataError` where there is nothing to train on.

    `batch_size` is global; `workers` is the number of processes that load beside this one.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        *,
        batch_size: int,
        seed: int,
        draw_count: int,
        steps_per_epoch: int | None,
        workers: int,
    ) -> None:
        super().__init__()
        if len(prepared.rows("train")) == 0:
            mend = "give the split samples, or let runforge split"
            raise DataError("the split train has no samples", where="the prepared set", mend=mend)
        self._prepared, self._batch_size, self._seed = prepared, batch_size, seed
        self._draw_count, self._steps, self._workers = draw_count, steps_per_epoch, workers
        self._keys = draws.sample_keys(prepared.ids)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split, in an order drawn anew each pass, with draws."""
        rows = self._prepared.rows("train")
        order = BatchOrder(
            rows,
            self._keys[rows],
            batch_size=self._batch_size,
            seed=self._seed,
            steps_per_epoch=self._steps,
        )
        return self._loader(order, self._draw_count)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Every sample of the validation split once; no loader where it has none."""
        return self._fixed("validation")

    def test_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Every sample of the test split once; no loader where it has none."""
        return self._fixed("test")

    def _fixed(self, split: str) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        rows = self._prepared.rows(split)
        if len(rows) == 0:
            return []
        return self._loader(FixedOrder(rows, batch_size=self._batch_size), 0)

    def _loader(self, order: Sampler[Block], draw_count: int) -> DataLoader[Batch]:
        dataset = BlockDataset(self._prepared, self._keys, seed=self._seed, draw_count=draw_count)
        return DataLoader(
            dataset,
            sampler=order,
            batch_size=None,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Begin and end of each batch of `count` samples.

    A last batch of a single sample is joined to the one before: batch norm can't learn from one.
    """
    begins = list(range(0, count, batch_size))
    if len(begins) > 1 and count - begins[-1] == 1 and batch_size > 1:
        begins.pop()
    return list(zip(begins, [*begins[1:], count], strict=True))
