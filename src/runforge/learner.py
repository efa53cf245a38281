"""What Lightning trains: a network with its task, augmentation, optimiser and schedule.

B samples in this rank's part of a batch. Logged once an epoch, over the samples of all ranks:
`train/loss`, `train/accuracy`, …, `validation/loss`, …; every `log_every_n_steps` steps:
`train/step_loss` and `learning_rate`, under the number of optimiser steps done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer

from runforge import ranks, targets
from runforge.blocks import shard
from runforge.datamodule import Batch
from runforge.dropout import replace_dropout
from runforge.epoch import EpochFigures, LossWatch, SplitOutputs, StepLoss, merged
from runforge.errors import ConfigError, TrainingError
from runforge.input_layer import InputLayer
from runforge.random_state import random_state, set_random_state
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
        self.train_figures = EpochFigures(task)
        self.validation_figures = EpochFigures(task, every_rank_has_all=True)
        self.validation_outputs = SplitOutputs()
        self.watch, self.step_loss = LossWatch(), StepLoss()
        self.dropout_keys = replace_dropout(network)
        self._logged_step = 0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """This rank's share of the loss: Lightning's and DDP's divisions leave Σ wᵢ·lᵢ / Σ wᵢ.

        Both sums are over all samples that the optimiser's step is taken on, on every rank and in
        every accumulated batch: neither uneven parts nor an uneven last batch weigh too much.
        """
        # The pixels' places and statistics need whole floats, under mixed precision too.
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer.to_float(batch.inputs)
            inputs = self.input_layer.normalise(self.augmentation(inputs, batch.draws))
        self.dropout_keys.set(batch.keys)
        outputs = self.network(inputs).float()
        weights = self.task.sample_weights(batch.targets)
        losses = weights * self.task.losses(outputs, batch.targets)
        loss: Tensor = losses.sum() / self.task.sample_weights(batch.window_targets).sum()
        with torch.no_grad():
            predictions = self.task.predictions(outputs)
            self.train_figures.update(losses, weights, predictions, batch.targets)
            self.step_loss.add(loss)
        self.watch.note(loss, self.global_step)
        if loss.device.type == "cpu":
            self._check_finite()
        return loss * (ranks.count() * self.trainer.accumulate_grad_batches)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keeps what the network says of a batch of the validation split."""
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer(batch.inputs)
        outputs = self.network(inputs).float()
        losses = self.task.losses(outputs, batch.targets)
        predictions = self.task.predictions(outputs)
        self.validation_outputs.add(batch.rows, losses, predictions, batch.targets)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Logs the step: straight to the loggers, as `self.log` would cost half a small step."""
        step = self.global_step
        if step == self._logged_step:
            return
        self._logged_step = step
        loss = self.step_loss.take()
        if step % self._log_every() != 0:
            return
        self._check_finite()
        values = {"train/step_loss": float(ranks.add_up(loss)), "learning_rate": self._rate}
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=step)

    def on_train_start(self) -> None:
        """What was done before a restart is logged already."""
        self._logged_step = self.global_step

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Keeps the learning rate of the step: it has changed when the step is logged."""
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Before any weights of this epoch can be kept."""
        self._check_finite()
        # Without synchronised batch norm, each rank has running statistics of its own.
        for buffer in self.network.buffers():
            ranks.take_from_first(buffer)

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's figures of the training split."""
        self._check_finite()
        self._log_epoch("train", self.train_figures)

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the validation split, from its samples in the order of the data.

        So they are the same however many ranks there are: nothing is padded, no mean is averaged.
        """
        losses, predictions, targets = self.validation_outputs.take()
        weights = self.task.sample_weights(targets)
        self.validation_figures.update(weights * losses, weights, predictions, targets)
        loss = self._log_epoch("validation", self.validation_figures)
        if not math.isfinite(loss):
            raise TrainingError(self._diverged("validation loss", loss, self.global_step))

    def rank_state(self) -> dict[str, Any]:
        """What this rank alone has in the midst of an epoch, besides its part of the weights."""
        own = () if ranks.count() == 1 else self.network.named_buffers()
        return {
            "random": random_state(),
            "figures": self.train_figures.sums(),
            "buffers": {name: buffer.cpu() for name, buffer in own},
        }

    def load_rank_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `rank_state`."""
        set_random_state(state["random"])
        self.train_figures.set_sums(state["figures"])
        for name, buffer in self.network.named_buffers():
            if name in state["buffers"]:
                buffer.copy_(state["buffers"][name])

    def merged_rank_state(self, states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What another number of ranks goes on from: nothing is counted twice or left out."""
        return {
            "random": states[0]["random"],
            "figures": merged([state["figures"] for state in states]),
            "buffers": {},
        }

    def configure_model(self) -> None:
        """Shares the weights out among the ranks, where the strategy asks for it."""
        if self.device_mesh is not None:
            shard(self.network, self.device_mesh["data_parallel"])

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the norm of the whole gradient, over all ranks, however it is shared out.

        Lightning's own way refuses a fused optimiser under bf16 too, where nothing is scaled.
        """
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule's factor on its learning rate at each of its steps."""
        clips = self.trainer.gradient_clip_val and self.trainer.precision == "16-mixed"
        if clips and self._optimizer.get("fused"):
            what = "a fused optimiser can't clip gradients under 16-mixed precision"
            raise ConfigError(what, where="optimizer.fused", mend="set it to false")
        optimizer = build_optimizer(self._optimizer, self.network.parameters())
        # Not Lightning's own figure, which would make the loader before a checkpoint is loaded.
        epochs, data = self.trainer.max_epochs, self.trainer.datamodule  # type: ignore[attr-defined]
        total = epochs * data.optimizer_steps()
        schedule = self._schedule
        scheduler = LambdaLR(optimizer, lambda step: schedule(step, total))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

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


def build_optimizer(node: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a node, whose `learning_rate` is torch's `lr`; raises `ConfigError`."""
    keywords = {"lr" if key == "learning_rate" else key: value for key, value in node.items()}
    try:
        optimizer: Optimizer = targets.build(keywords, params=parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{error}", where="optimizer", mend="mend its keys") from error
    return optimizer
