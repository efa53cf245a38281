"""What a training keeps over its steps, on the device, until it is logged.

B samples in this rank's part of a batch, N in a split, C columns of predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric

from runforge import ranks
from runforge.task import Task


class EpochFigures(nn.Module):
    """The loss and the task's metrics over an epoch, kept on the device.

    `compute` adds up what the ranks have, unless every rank has all of it.
    """

    def __init__(self, task: Task, *, every_rank_has_all: bool = False) -> None:
        super().__init__()
        # Two sums: MeanMetric leaves the weights out where it does not look for NaN, and looking
        # waits for the device. A loss that is no number is told by the learner.
        self.loss_sum = SumMetric(nan_strategy="disable")
        self.weight_sum = SumMetric(nan_strategy="disable")
        self.metrics: MetricCollection = task.training_metrics()
        if every_rank_has_all:
            for metric in self.modules():
                if isinstance(metric, Metric):
                    metric.distributed_available_fn = _never

    def update(self, losses: Tensor, weights: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Takes in samples: their weighted losses [B], weights [B], predictions [B, C], targets."""
        self.loss_sum.update(losses.sum())
        self.weight_sum.update(weights.sum())
        if len(targets):
            self.metrics.update(predictions, targets)

    def compute(self) -> dict[str, float]:
        """The figures since the last call; one that has no value is absent."""
        loss = float(self.loss_sum.compute() / self.weight_sum.compute())
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        for metric in (self.loss_sum, self.weight_sum, self.metrics):
            metric.reset()
        return {"loss": loss} | {n: v for n, v in values.items() if not math.isnan(v)}

    def sums(self) -> list[dict[str, Tensor]]:
        """What each metric has summed up on this rank, the metrics in one order."""
        return [{n: s.cpu() for n, s in _state(metric).items()} for metric in self._each()]

    def set_sums(self, sums: Sequence[Mapping[str, Tensor]]) -> None:
        """The inverse of `sums`."""
        for metric, values in zip(self._each(), sums, strict=True):
            for name, value in values.items():
                setattr(metric, name, value.to(metric.device, copy=True))
            metric._update_count, metric._computed = 1, None

    def _each(self) -> Iterator[Metric]:
        # `items` gives each metric its own state, which a group of them otherwise shares.
        yield from (self.loss_sum, self.weight_sum)
        yield from (metric for _, metric in self.metrics.items(keep_base=True, copy_state=True))


def merged(every: Sequence[Sequence[Mapping[str, Tensor]]]) -> list[dict[str, Tensor]]:
    """The sums of all ranks, added up."""
    together = zip(*every, strict=True)
    return [{name: sum(p[name] for p in parts) for name in parts[0]} for parts in together]


def _state(metric: Metric) -> dict[str, Tensor]:
    return {n: s for n, s in metric.metric_state.items() if isinstance(s, Tensor)}


def _never() -> bool:
    return False


class SplitOutputs:
    """What the network said of a split's samples, until all of them are there."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, rows: Tensor, losses: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Takes in a block of this rank's: rows of the data [B], losses [B], …"""
        self._parts.append((rows, losses, predictions, targets))

    def take(self) -> tuple[Tensor, Tensor, Tensor]:
        """Losses [N], predictions [N, C] and targets [N] of all ranks, in the order of the data."""
        rows, *values = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        self._parts.clear()
        losses, predictions, targets = (ranks.in_order(rows, each) for each in values)
        return losses, predictions, targets


class StepLoss(nn.Module):
    """This rank's share of the loss that the optimiser's next step is taken on."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()), persistent=False)

    def add(self, loss: Tensor) -> None:
        """Takes in a batch of the step."""
        self.value = self.value + loss

    def take(self) -> Tensor:
        """The share; the next step begins at 0."""
        taken, self.value = self.value, torch.zeros_like(self.value)
        return taken


class LossWatch(nn.Module):
    """Remembers the first loss that is no finite number, without waiting for the device."""

    value: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)

    def note(self, loss: Tensor, step: int) -> None:
        """Takes in the loss of a step."""
        first = self.value.isfinite() & ~loss.isfinite()
        self.step = torch.where(first, step, self.step)
        self.value = torch.where(self.value.isfinite(), loss.detach(), self.value)

    def read(self) -> tuple[float, int]:
        """The first such loss and its step; else the last loss."""
        return self.value.item(), int(self.step.item())
