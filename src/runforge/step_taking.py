"""How a step of the optimiser is taken: on one device alone, or with what Lightning adds to it.

B samples in this rank's part of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from runforge import ranks
from runforge.dropout import DropoutKeys
from runforge.epoch import Samples
from runforge.input_layer import InputLayer
from runforge.steps import Batch, Step
from runforge.task import Task


class Outcome(NamedTuple):
    """What a step leaves on the device."""

    share: Tensor
    """This rank's share of its loss, a scalar."""
    samples: tuple[Samples, ...]
    """For the figures of the epoch, batch by batch."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a step is made of; no module, whose attributes take long to look up."""

    input_layer: InputLayer
    augmentation: nn.Module
    network: nn.Module
    task: Task
    dropout_keys: DropoutKeys
    clip_norm: float | None
    """The largest norm of a step's gradient."""

    def clip(self) -> None:
        """Clips by the norm of the whole gradient, over all ranks, however it is shared out."""
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)


class Taker:
    """Takes steps where neither gradients are scaled nor anything is shared among ranks.

    Without Lightning's hooks, which cost as much as a small step; it must be told of the steps.
    """

    def __init__(self, parts: Parts, optimizer: Optimizer, learner: LightningModule) -> None:
        self._parts, self._optimizer = parts, optimizer
        # Does nothing, unless `trainer.profile` asks for it.
        self._profiler: Profiler = learner.trainer.profiler  # type: ignore[attr-defined]
        self._whole_floats: AbstractContextManager[object] = nullcontext()
        if "mixed" in str(learner.trainer.precision):
            self._whole_floats = torch.autocast(learner.device.type, enabled=False)

    def __call__(self, step: Step) -> Outcome:
        """Takes a step, all of it on the device."""
        weight = self._weight(step)
        learned = [self._learn_from(batch, weight) for batch in step.batches]
        self._profiler.start("optimizer_step")
        self._parts.clip()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._profiler.stop("optimizer_step")
        return _together(learned)

    def forget(self) -> None:
        """Leaves out the gradient of a step that was not taken to its end."""
        self._optimizer.zero_grad()

    def _weight(self, step: Step) -> Tensor | int:
        """Of all samples that the step is taken on, on every rank and in every batch."""
        weights = self._parts.task.sample_weights(step.targets)
        return len(step.targets) if weights is None else weights.sum()

    def _learn_from(self, batch: Batch, total_weight: Tensor | int) -> tuple[Tensor, Samples]:
        """Adds to the gradient; returns this rank's share of the step's loss, Σ wᵢ·lᵢ / Σ wᵢ.

        The lower sum is over all samples of the step: neither uneven parts nor an uneven last
        batch weigh too much.
        """
        parts, profiler = self._parts, self._profiler
        profiler.start("augmentation")
        # The pixels' places and statistics need whole floats, under mixed precision too.
        with self._whole_floats:
            inputs = parts.input_layer.to_float(batch.inputs)
            inputs = parts.input_layer.normalise(parts.augmentation(inputs, batch.draws))
        parts.dropout_keys.set(batch.keys)
        profiler.stop("augmentation")
        profiler.start("forward")
        outputs = parts.network(inputs).float()
        losses, weights = weighted_losses(parts.task, outputs, batch.targets)
        loss: Tensor = losses.sum() / total_weight
        profiler.stop("forward")
        profiler.start("backward")
        self._backward(loss)
        profiler.stop("backward")
        return loss.detach(), (losses.detach(), weights, outputs.detach(), batch.targets)

    def _backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


class LightningTaker(Taker):
    """Takes steps as Lightning's strategy and precision want them taken."""

    def __init__(self, parts: Parts, optimizer: LightningOptimizer, learner: LightningModule):
        super().__init__(parts, optimizer.optimizer, learner)
        self._wrapped, self._learner = optimizer, learner

    def __call__(self, step: Step) -> Outcome:
        """Takes a step; Lightning has the gradient clipped."""
        weight = self._weight(step)
        *others, last = step.batches
        with self._not_synchronised():
            learned = [self._learn_from(batch, weight) for batch in others]
        learned.append(self._learn_from(last, weight))
        self._wrapped.step()
        self._wrapped.zero_grad()
        return _together(learned)

    def _backward(self, loss: Tensor) -> None:
        # As the ranks' gradients are averaged.
        self._learner.manual_backward(loss * ranks.count())

    @contextmanager
    def _not_synchronised(self) -> Iterator[None]:
        """Inside, gradients are summed up on this rank alone."""
        strategy = self._learner.trainer.strategy
        if isinstance(strategy, ParallelStrategy):
            with strategy.block_backward_sync():
                yield
        else:
            yield


def is_plain(trainer: Trainer) -> bool:
    """Whether neither gradients are scaled nor weights or gradients shared among ranks."""
    scaled = getattr(trainer.strategy.precision_plugin, "scaler", None) is not None
    return not scaled and not isinstance(trainer.strategy, ParallelStrategy)


def weighted_losses(task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """Outputs [B, K], targets [B] → wᵢ·lᵢ [B] and w [B], or None where samples weigh the same."""
    losses, weights = task.losses(outputs, targets), task.sample_weights(targets)
    return (losses if weights is None else weights * losses), weights


def _together(learned: Sequence[tuple[Tensor, Samples]]) -> Outcome:
    """Of the batches of one step."""
    shares, samples = zip(*learned, strict=True)
    share, *others = shares
    return Outcome(sum(others, share), samples)
