"""From a prepared set to batches: whole blocks of rows, drawn by index.

A global batch has G samples, this rank's part of it B, of D draws each. Which samples a step sees,
and their draws, are functions of (seed, step) and (seed, pass, sample id): nothing here carries
random state, and nothing but the bounds of a part depends on how many ranks share the batch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from runforge import draws
from runforge.errors import DataError, in_one_line
from runforge.held_rows import HeldRows, held
from runforge.orders import (
    BatchOrder,
    BatchPlan,
    FixedOrder,
    Part,
    Rows,
    StepRows,
    steps_in_epoch,
)
from runforge.pace import MOST_STEPS, Pace
from runforge.prepared import PreparedSet
from runforge.ranks import ALONE, Ranks
from runforge.side_stream import SideStream
from runforge.steps import Batch, Steps


class SampleReader:
    """Copies samples out of a prepared set's memory-mapped arrays by NumPy."""

    def __init__(
        self,
        prepared: PreparedSet,
        keys: draws.Keys,
        *,
        seed: int,
        draw_count: int,
        without_inputs: bool,
    ) -> None:
        self._prepared, self._keys = prepared, keys
        self._seed, self._draw_count = seed, draw_count
        self._without_inputs = without_inputs

    def samples(self, parts: Sequence[Part]) -> Batch:
        """Those of all parts, one behind the other."""
        # One pass at a time, as draws are a function of it; most calls are within one.
        passes = [
            (number, np.concatenate([part.rows for part in group]))
            for number, group in groupby(parts, key=attrgetter("pass_number"))
        ]
        rows = np.concatenate([rows for _, rows in passes])
        drawn = [self._drawn(rows, number) for number, rows in passes]
        return Batch(
            self._inputs(rows),
            self.targets(rows),
            torch.from_numpy(np.concatenate([uniform for uniform, _ in drawn])),
            torch.from_numpy(np.concatenate([keys for _, keys in drawn])),
            torch.from_numpy(rows),
        )

    def _inputs(self, rows: Rows) -> Tensor:
        """Packed rows; with no numbers in them where they are held on the device."""
        if self._without_inputs:
            return torch.empty(len(rows), 0, dtype=torch.uint8)
        return torch.from_numpy(np.asarray(self._prepared.inputs[rows]))

    def targets(self, rows: Rows) -> Tensor:
        """Targets [N] of rows [N]."""
        return torch.from_numpy(np.asarray(self._prepared.targets[rows]))

    def _drawn(self, rows: Rows, pass_number: int) -> tuple[np.ndarray, np.ndarray]:
        """What augmentation draws for each sample in a pass, and the keys of its dropout."""
        keys, stream = self._keys[rows], {"seed": self._seed, "pass_number": pass_number}
        return draws.uniform(keys, **stream, count=self._draw_count), draws.stream_keys(
            keys, **stream
        )


class StepDataset(Dataset[Steps]):
    """The training split, indexed by the rows of whole steps."""

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader

    def __getitem__(self, wanted: tuple[StepRows, ...]) -> Steps:
        """The steps' samples."""
        with _told_in_one_line():
            return Steps(
                self._reader.samples([part for step in wanted for part in step.parts]),
                self._reader.targets(np.concatenate([step.rows for step in wanted])),
                tuple(tuple(len(part.rows) for part in step.parts) for step in wanted),
                tuple(len(step.rows) for step in wanted),
            )


class BlockDataset(Dataset[Batch]):
    """A split that is evaluated, indexed by blocks of rows."""

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader

    def __getitem__(self, rows: Rows) -> Batch:
        """The block's samples."""
        with _told_in_one_line():
            return self._reader.samples([Part(rows, 0)])


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again, as one that can be sent
        # One that can't be pickled would let the training wait for ever.
        raise RuntimeError(f"a batch can't be read: {in_one_line(error)}") from None


class PackedData(LightningDataModule):
    """The loaders of a prepared set; raises `DataError` where there is nothing to train on.

    `workers` is the number of processes that load beside this one, `timeout_s` the longest that one
    may take for its steps (0: for ever); `validation_limit` the most batches of a split that are
    evaluated (None: all), `steps_per_call` the most steps of the optimiser that are drawn together.
    `on_device`: whether the inputs are held on the device; `auto` is for GPUs with room for them.
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
        steps_per_call: int = MOST_STEPS,
        on_device: bool | str = False,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        if len(prepared.rows("train")) == 0:
            mend = "give the split samples, or let runforge split"
            raise DataError("the split train has no samples", where="the prepared set", mend=mend)
        self._prepared, self.plan, self._ranks = prepared, plan, ranks
        self._draw_count, self._limit = draw_count, validation_limit
        self._workers, self._timeout_s = workers, timeout_s
        self._on_device = on_device
        self._held: HeldRows | None = None
        self._side: SideStream | None = None
        self._keys = draws.sample_keys(prepared.ids)
        schema = prepared.schema
        sample_bytes = math.prod(schema.packed_shape) * np.dtype(schema.packed_dtype).itemsize
        # Ranks measure different times, and must be called alike.
        most = steps_per_call if ranks.count == 1 else 1
        self.steps_in_epoch = steps_in_epoch(len(prepared.rows("train")), plan)
        """Steps of the optimiser in an epoch."""
        self.pace = Pace(plan.batch_size * sample_bytes, most_steps=most)

    def setup(self, stage: str) -> None:
        """Brings the inputs to the device, where they are to be held there."""
        if self.trainer is None:
            return
        device = self.trainer.strategy.root_device
        if device.type == "cuda":
            self._side = SideStream(device)
        if self._held is None:
            self._held = held(self._prepared.inputs, device, wanted=self._on_device)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Copies beside what a GPU has still to do."""
        return self._side.bring(batch) if self._side is not None else batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Puts in the inputs that are held on the device."""
        if self._held is None:
            return batch
        samples: Batch = batch.samples if isinstance(batch, Steps) else batch
        samples = samples._replace(inputs=self._held.take(samples.rows))
        return replace(batch, samples=samples) if isinstance(batch, Steps) else samples

    def train_order(self) -> BatchOrder:
        """What each step trains on, from where a checkpoint that was loaded goes on."""
        rows = self._prepared.rows("train")
        keys = self._keys[rows]
        order = BatchOrder(rows, keys, self.plan, pace=self.pace, ranks=self._ranks)
        if self.trainer is not None:
            # Loading processes ask for steps before Lightning has told the epoch.
            order.go_on(self.trainer.current_epoch, self.steps_done())
        return order

    def steps_done(self) -> int:
        """Steps of the optimiser that are done in the trainer's present epoch."""
        assert self.trainer is not None
        return self.trainer.global_step - self.trainer.current_epoch * self.steps_in_epoch

    def train_dataloader(self) -> DataLoader[Steps]:
        """The steps of an epoch, in an order drawn anew each pass, with draws."""
        dataset = StepDataset(self._reader(self._draw_count))
        return DataLoader(dataset, sampler=self.train_order(), **self._options())

    @property
    def validates(self) -> bool:
        """Whether there are samples of the validation split."""
        return len(self._prepared.rows("validation")) > 0

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Every sample of the validation split once; no loader where it has none."""
        rows = self._prepared.rows("validation")
        size = self.plan.batch_size
        order = FixedOrder(rows, batch_size=size, limit=self._limit, ranks=self._ranks)
        dataset = BlockDataset(self._reader(0))
        return DataLoader(dataset, sampler=order, **self._options()) if len(order) else []

    def _reader(self, draw_count: int) -> SampleReader:
        return SampleReader(
            self._prepared,
            self._keys,
            seed=self.plan.seed,
            draw_count=draw_count,
            without_inputs=self._held is not None,
        )

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": None,
            "num_workers": self._workers,
            "multiprocessing_context": _context() if self._workers else None,
            "timeout": self._timeout_s if self._workers else 0,
            "persistent_workers": self._workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }


def _context() -> str | None:
    """A rank is itself a fork of a server, and would start its loaders by another: in seconds."""
    return "fork" if sys.platform == "linux" else None
