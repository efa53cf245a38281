"""From a prepared set to batches: whole blocks of rows, drawn by index.

A global batch has G samples, this rank's part of it B, of D draws each. Which samples a step sees,
and their draws, are functions of (seed, step) and (seed, pass, sample id): nothing here carries
random state, and nothing but the bounds of a part depends on how many ranks share the batch.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from runforge import draws
from runforge.errors import DataError, in_one_line
from runforge.orders import BatchOrder, BatchPlan, Block, FixedOrder
from runforge.prepared import PreparedSet
from runforge.ranks import ALONE, Ranks


class Batch(NamedTuple):
    """What one step gets on one rank; B may be 0."""

    inputs: Tensor
    """Packed rows [B, *packed_shape], in the packed type."""
    targets: Tensor
    """[B]: int64 indices of classes, or float32 values in the target's unit."""
    draws: Tensor
    """float32 [B, D] in [0, 1); D is 0 in validation and test."""
    keys: Tensor
    """int64 [B]: what dropout draws a sample's mask from, another one in each pass."""
    window_targets: Tensor
    """Targets of all samples, of every rank, that the optimiser's step is taken on."""
    rows: Tensor
    """int64 [B]: the rows of the prepared set."""


class BlockDataset(Dataset[Batch]):
    """A prepared set that is indexed by whole blocks."""

    def __init__(
        self, prepared: PreparedSet, keys: draws.Keys, *, seed: int, draw_count: int
    ) -> None:
        self._prepared, self._keys = prepared, keys
        self._seed, self._draw_count = seed, draw_count

    def __getitem__(self, block: Block) -> Batch:
        """The block's samples, copied out of the memory-mapped arrays by NumPy."""
        try:
            return self._batch(block)
        except Exception as error:  # noqa: BLE001 - raised again, as one that can be sent
            # One that can't be pickled would let the training wait for ever.
            raise RuntimeError(f"a batch can't be read: {in_one_line(error)}") from None

    def _batch(self, block: Block) -> Batch:
        stream = {"seed": self._seed, "pass_number": block.pass_number}
        keys = self._keys[block.rows]
        return Batch(
            torch.from_numpy(np.asarray(self._prepared.inputs[block.rows])),
            torch.from_numpy(np.asarray(self._prepared.targets[block.rows])),
            torch.from_numpy(draws.uniform(keys, **stream, count=self._draw_count)),
            torch.from_numpy(draws.stream_keys(keys, **stream)),
            torch.from_numpy(np.asarray(self._prepared.targets[block.window_rows])),
            torch.from_numpy(block.rows.copy()),
        )


class PackedData(LightningDataModule):
    """The loaders of a prepared set; raises `DataError` where there is nothing to train on.

    `workers` is the number of processes that load beside this one, `timeout_s` the longest that one
    may take for a batch (0: for ever); `validation_limit` the most batches of a split that are
    evaluated (None: all).
    """

    def __init__(  # noqa: PLR0913 - what loading needs
        self,
        prepared: PreparedSet,
        plan: BatchPlan,
        *,
        draw_count: int,
        workers: int = 0,
        timeout_s: float = 0,
        validation_limit: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        if len(prepared.rows("train")) == 0:
            mend = "give the split samples, or let runforge split"
            raise DataError("the split train has no samples", where="the prepared set", mend=mend)
        self._prepared, self._plan, self._ranks = prepared, plan, ranks
        self._draw_count, self._limit = draw_count, validation_limit
        self._workers, self._timeout_s = workers, timeout_s
        self._keys = draws.sample_keys(prepared.ids)

    def train_order(self) -> BatchOrder:
        """What each step trains on, from where a checkpoint that was loaded goes on."""
        rows = self._prepared.rows("train")
        keys, epoch, done = self._keys[rows], 0, 0
        if self.trainer is not None:
            # Loading processes ask for batches before Lightning has told the epoch.
            epoch = self.trainer.current_epoch
            done = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        order = BatchOrder(rows, keys, self._plan, ranks=self._ranks, done=done)
        order.set_epoch(epoch)
        return order

    def optimizer_steps(self) -> int:
        """Steps of the optimiser in an epoch."""
        return math.ceil(len(self.train_order()) / self._plan.accumulate)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split, in an order drawn anew each pass, with draws."""
        return self._loader(self.train_order(), self._draw_count)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Every sample of the validation split once; no loader where it has none."""
        rows = self._prepared.rows("validation")
        size = self._plan.batch_size
        order = FixedOrder(rows, batch_size=size, limit=self._limit, ranks=self._ranks)
        return self._loader(order, 0) if len(order) else []

    def _loader(self, order: Sampler[Block], draw_count: int) -> DataLoader[Batch]:
        dataset = BlockDataset(
            self._prepared, self._keys, seed=self._plan.seed, draw_count=draw_count
        )
        return DataLoader(
            dataset,
            sampler=order,
            batch_size=None,
            num_workers=self._workers,
            multiprocessing_context=_context() if self._workers else None,
            timeout=self._timeout_s if self._workers else 0,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def _context() -> str | None:
    """A rank is itself a fork of a server, and would start its loaders by another: in seconds."""
    return "fork" if sys.platform == "linux" else None
