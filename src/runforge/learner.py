"""What Lightning trains: a network with its task, augmentation, optimiser and schedule.

B samples in a batch. Logged once an epoch, from sums over the whole epoch: `train/loss`,
`train/accuracy`, …, `validation/loss`, …; every `log_every_n_steps` steps: `train/step_loss` and
`learning_rate`, under the number of optimiser steps done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer
from torchmetrics import MetricCollection, SumMetric

from runforge import targets
from runforge.datamodule import Batch
from runforge.errors import ConfigError, TrainingError
from runforge.input_layer import InputLayer
from runforge.schedules import Schedule
from runforge.schema import Schema
from runforge.task import Task


class Learner(LightningModule):
    """One training. Raises `TrainingError` as soon as a loss is no finite number.

    `optimizer` is the node of the configuration: it is built when the parameters are on their
    device.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        task: Task,
        augmentation: nn.Module,
        optimizer: Mapping[str, Any],
        schedule: Schedule,
        schema: Schema,
    ) -> None:
        super().__init__()
        self.input_layer = InputLayer(schema)
        self.augmentation, self.network, self.task = augmentation, network, task
        self._optimizer, self._schedule = optimizer, schedule
        self.train_figures, self.validation_figures = EpochFigures(task), EpochFigures(task)
        self.watch = LossWatch()
        self._logged_step = 0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of a batch: Σ wᵢ·lᵢ / Σ wᵢ over its samples."""
        # The pixels' places and statistics need whole floats, under mixed precision too.
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer.to_float(batch.inputs)
            inputs = self.input_layer.normalise(self.augmentation(inputs, batch.draws))
        loss = self._loss(inputs, batch.targets, self.train_figures)
        self.watch.note(loss, self.global_step)
        if loss.device.type == "cpu":
            self._check_finite()
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Takes a batch into the figures of the validation split."""
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer(batch.inputs)
        self._loss(inputs, batch.targets, self.validation_figures)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Logs the step: straight to the loggers, as `self.log` would cost half a small step."""
        step = self.global_step
        if step == self._logged_step or step % self._log_every() != 0:
            return
        self._logged_step = step
        self._check_finite()
        values = {"train/step_loss": float(outputs["loss"]), "learning_rate": self._rate}
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=step)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Keeps the learning rate of the step: it has changed when the step is logged."""
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Before any weights of this epoch can be kept."""
        self._check_finite()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's figures of the training split."""
        self._check_finite()
        self._log_epoch("train", self.train_figures)

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch's figures of the validation split."""
        loss = self._log_epoch("validation", self.validation_figures)
        if not math.isfinite(loss):
            raise TrainingError(self._diverged("validation loss", loss, self.global_step))

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule's factor on its learning rate at each of its steps."""
        clips = self.trainer.gradient_clip_val and self.trainer.precision == "16-mixed"
        if clips and self._optimizer.get("fused"):
            what = "a fused optimiser can't clip gradients under 16-mixed precision"
            raise ConfigError(what, where="optimizer.fused", mend="set it to false")
        optimizer = build_optimizer(self._optimizer, self.network.parameters())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = self._schedule
        scheduler = LambdaLR(optimizer, lambda step: schedule(step, total))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _loss(self, inputs: Tensor, targets: Tensor, figures: EpochFigures) -> Tensor:
        outputs = self.network(inputs).float()
        weights = self.task.sample_weights(targets)
        weight = weights.sum()
        loss: Tensor = (weights * self.task.losses(outputs, targets)).sum() / weight
        with torch.no_grad():
            figures.update(loss, weight, self.task.predictions(outputs), targets)
        return loss

    def _log_every(self) -> int:
        return int(getattr(self.trainer, "log_every_n_steps", 0)) or 1

    def _log_epoch(self, split: str, figures: EpochFigures) -> float:
        values = figures.compute()
        named = {f"{split}/{name}": value for name, value in values.items()}
        self.log_dict(named, prog_bar=True)
        return values["loss"]

    def _check_finite(self) -> None:
        loss, step = self.watch.read()
        if not math.isfinite(loss):
            raise TrainingError(self._diverged("loss", loss, step))

    def _diverged(self, name: str, loss: float, step: int) -> str:
        rate = self._optimizer["learning_rate"]
        where = f"epoch {self.current_epoch}, step {step}"
        return f"the {name} became {loss} at {where}; lower optimizer.learning_rate={rate}"


class EpochFigures(nn.Module):
    """The loss and the task's metrics over an epoch, kept on the device."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        # Two sums: MeanMetric leaves the weights out where it does not look for NaN, and looking
        # waits for the device. A loss that is no number is told by the learner.
        self.loss_sum = SumMetric(nan_strategy="disable")
        self.weight_sum = SumMetric(nan_strategy="disable")
        self.metrics: MetricCollection = task.training_metrics()

    def update(self, loss: Tensor, weight: Tensor, predictions: Tensor, targets: Tensor) -> None:
        """Takes in a batch with its mean loss and the weight of its samples."""
        self.loss_sum.update(loss * weight)
        self.weight_sum.update(weight)
        self.metrics.update(predictions, targets)

    def compute(self) -> dict[str, float]:
        """The figures since the last call; one that has no value is absent."""
        loss = float(self.loss_sum.compute() / self.weight_sum.compute())
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        for metric in (self.loss_sum, self.weight_sum, self.metrics):
            metric.reset()
        return {"loss": loss} | {n: v for n, v in values.items() if not math.isnan(v)}


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


def build_optimizer(node: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a node, whose `learning_rate` is torch's `lr`; raises `ConfigError`."""
    keywords = {"lr" if key == "learning_rate" else key: value for key, value in node.items()}
    try:
        optimizer: Optimizer = targets.build(keywords, params=parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{error}", where="optimizer", mend="mend its keys") from error
    return optimizer
