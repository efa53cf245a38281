"""What a training keeps over its steps, on the device, until it is logged.

B samples in this rank's part of a batch, N in a split, K outputs of the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric

from runforge import ranks
from runforge.determinism import any_order
from runforge.task import Task

AT_ONCE, VALUES_AT_ONCE = 64, 1 << 20
"""Updates that the metrics take in together, for each time costs them as much as a small step;
fewer where they would hold more values than that."""

Samples = tuple[Tensor, Tensor | None, Tensor, Tensor]
"""Weighted losses [B], weights [B] or None where all are 1, outputs [B, K], targets [B]."""


class EpochFigures(nn.Module):
    """The loss and the task's metrics over an epoch, kept on the device.

    `compute` adds up what the ranks have, unless every rank has all of it. What is summed up with
    what is a function of the updates since the last `compute` alone.
    """

    def __init__(self, task: Task, *, every_rank_has_all: bool = False) -> None:
        super().__init__()
        # Two sums: MeanMetric leaves the weights out where it does not look for NaN, and looking
        # waits for the device. A loss that is no number is told by the learner.
        self.loss_sum = SumMetric(nan_strategy="disable")
        self.weight_sum = SumMetric(nan_strategy="disable")
        self.metrics: MetricCollection = task.training_metrics()
        self._answers = task.answers
        self._waiting: list[Samples] = []
        if every_rank_has_all:
            for metric in self.modules():
                if isinstance(metric, Metric):
                    metric.distributed_available_fn = _never

    def update(
        self, losses: Tensor, weights: Tensor | None, outputs: Tensor, targets: Tensor
    ) -> None:
        """Takes in `Samples`."""
        self._waiting.append((losses, weights, outputs, targets))
        if len(self._waiting) >= min(AT_ONCE, VALUES_AT_ONCE // max(outputs.numel(), 1)):
            self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        losses, weights, outputs, targets = map(_joined, zip(*self._waiting, strict=True))
        assert losses is not None and outputs is not None and targets is not None
        self._waiting.clear()
        self.loss_sum.update(losses.sum())
        self.weight_sum.update(float(len(losses)) if weights is None else weights.sum())
        if len(targets):
            with any_order():
                self.metrics.update(self._answers(outputs), targets)

    def compute(self) -> dict[str, float]:
        """The figures since the last call; one that has no value is absent."""
        self._take_in()
        loss = float(self.loss_sum.compute() / self.weight_sum.compute())
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        for metric in (self.loss_sum, self.weight_sum, self.metrics):
            metric.reset()
        return {"loss": loss} | {n: v for n, v in values.items() if not math.isnan(v)}

    def names(self) -> list[str]:
        """Of all figures that `compute` may give."""
        return ["loss", *map(str, self.metrics)]

    def kept(self) -> Kept:
        """What each metric has summed up on this rank, the metrics in one order; what waits."""
        sums = [{n: s.cpu() for n, s in _state(metric).items()} for metric in self._each()]
        waiting = [[v if v is None else v.cpu() for v in samples] for samples in self._waiting]
        return {"sums": sums, "waiting": waiting}

    def take_up(self, kept: Kept) -> None:
        """The inverse of `kept`."""
        for metric, values in zip(self._each(), kept["sums"], strict=True):
            for name, value in values.items():
                setattr(metric, name, value.to(metric.device, copy=True))
            metric._update_count, metric._computed = 1, None
        device = self.loss_sum.device
        for samples in kept["waiting"]:
            losses, weights, outputs, targets = (v if v is None else v.to(device) for v in samples)
            assert losses is not None and outputs is not None and targets is not None
            self.update(losses, weights, outputs, targets)

    def _each(self) -> Iterator[Metric]:
        # `items` gives each metric its own state, which a group of them otherwise shares.
        yield from (self.loss_sum, self.weight_sum)
        yield from (metric for _, metric in self.metrics.items(keep_base=True, copy_state=True))


class Kept(TypedDict):
    """What `EpochFigures` keeps in a checkpoint."""

    sums: list[dict[str, Tensor]]
    waiting: list[list[Tensor | None]]


def merged(every: Sequence[Kept]) -> Kept:
    """What all ranks have, as one."""
    together = zip(*(kept["sums"] for kept in every), strict=True)
    sums = [{name: sum(p[name] for p in parts) for name in parts[0]} for parts in together]
    return {"sums": sums, "waiting": [samples for kept in every for samples in kept["waiting"]]}


def _state(metric: Metric) -> dict[str, Tensor]:
    return {n: s for n, s in metric.metric_state.items() if isinstance(s, Tensor)}


def _never() -> bool:
    return False


class SplitOutputs:
    """What the network said of a split's samples, until all of them are there."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, rows: Tensor, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Takes in a block of this rank's: rows of the data [B], losses [B], …"""
        self._parts.append((rows, losses, outputs, targets))

    def take(self) -> tuple[Tensor, Tensor, Tensor]:
        """Losses [N], outputs [N, K] and targets [N] of all ranks, in the order of the data."""
        rows, *values = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        self._parts.clear()
        rows = rows.cpu()
        losses, outputs, targets = (ranks.in_order(rows, each) for each in values)
        return losses, outputs, targets


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """One behind the other; all of them are None, or none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None
