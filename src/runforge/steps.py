"""What one call of training's loop gets: one or more steps of the optimiser, drawn together.

A global batch has G samples, this rank's part of it B, of D draws each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Samples on one rank; B may be 0."""

    inputs: Tensor
    """Packed rows [B, *packed_shape], in the packed type."""
    targets: Tensor
    """[B]: int64 indices of classes, or float32 values in the target's unit."""
    draws: Tensor
    """float32 [B, D] in [0, 1); D is 0 in validation and test."""
    keys: Tensor
    """int64 [B]: what dropout draws a sample's mask from, another one in each pass."""
    rows: Tensor
    """int64 [B]: the rows of the prepared set."""


class Step(NamedTuple):
    """What one step of the optimiser is taken on."""

    batches: tuple[Batch, ...]
    """This rank's part of each batch whose gradients are summed up."""
    targets: Tensor
    """Those of all samples of the step, of every rank."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps, with the samples of all their batches one behind the other."""

    samples: Batch
    targets: Tensor
    """Of all samples of every rank, step behind step."""
    sizes: tuple[tuple[int, ...], ...]
    """B of each batch of each step."""
    target_sizes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Step]:
        flat = [size for sizes in self.sizes for size in sizes]
        batches = map(Batch, *(tensor.split_with_sizes(flat) for tensor in self.samples))
        targets = self.targets.split_with_sizes(self.target_sizes)
        for sizes, every in zip(self.sizes, targets, strict=True):
            yield Step(tuple(islice(batches, len(sizes))), every)

    def to(self, device: torch.device | str, **options: Any) -> Steps:
        """The same on a device; what is pinned is copied beside other work."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True, **options))

    def pin_memory(self) -> Steps:
        """The same in memory that a GPU can read."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Steps:
        samples = Batch(*map(change, self.samples))
        return Steps(samples, change(self.targets), self.sizes, self.target_sizes)
