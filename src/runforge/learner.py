"""What Lightning trains: a network with its task, augmentation, optimiser and schedule.

B samples in this rank's part of a batch. Logged once an epoch, over the samples of all ranks:
`train/loss`, `train/accuracy`, …, `validation/loss`, …; every `log_every_n_steps` steps:
`train/step_loss` and `learning_rate`, under the number of optimiser steps done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from runforge import ranks, targets
from runforge.blocks import shard
from runforge.dropout import replace_dropout
from runforge.epoch import EpochFigures, SplitOutputs, StepLosses, merged
from runforge.errors import ConfigError, TrainingError
from runforge.input_layer import InputLayer
from runforge.random_state import random_state, set_random_state
from runforge.schedules import Schedule
from runforge.schema import Schema
from runforge.steps import Batch, Step, Steps
from runforge.task import Task


class Learner(LightningModule):
    """One training. Raises `TrainingError` as soon as a loss is no finite number.

    `optimizer` is the node of the configuration: it is built when the parameters are on their
    device. `clip_norm`: the largest norm of a step's gradient.
    """

    def __init__(  # noqa: PLR0913 - the parts, each named by the caller
        self,
        *,
        network: nn.Module,
        task: Task,
        augmentation: nn.Module,
        optimizer: Mapping[str, Any],
        schedule: Schedule,
        schema: Schema,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.input_layer = InputLayer(schema)
        self.augmentation, self.network, self.task = augmentation, network, task
        self._optimizer, self._schedule, self._clip_norm = optimizer, schedule, clip_norm
        self.train_figures = EpochFigures(task)
        self.validation_figures = EpochFigures(task, every_rank_has_all=True)
        self.validation_outputs = SplitOutputs()
        self.losses = StepLosses()
        self.dropout_keys = replace_dropout(network)

    def training_step(self, steps: Steps, call: int) -> None:
        """Takes the steps of the optimiser, one behind the other.

        Lightning calls this once for all of them, for its call costs as much as a small step.
        """
        began_s = time.perf_counter()
        number, optimizer = self.global_step, self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for step in steps:
            self._take(step, number, optimizer)
            number += 1
        self._pace.note(len(steps), time.perf_counter() - began_s)

    def _take(self, step: Step, number: int, optimizer: LightningOptimizer) -> None:
        rate = self._optimizer["learning_rate"] * self._schedule(number, self._total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        total_weight = self.task.sample_weights(step.targets).sum()
        *others, last = step.batches
        if others:
            with self._not_synchronised():
                shares = [self._learn_from(batch, total_weight) for batch in others]
            share = sum(shares, self._learn_from(last, total_weight))
        else:
            share = self._learn_from(last, total_weight)
        self._step(optimizer)
        self._profiler.start("logging")
        self._note(share, number + 1, rate)
        self._profiler.stop("logging")

    def _step(self, optimizer: LightningOptimizer) -> None:
        if self._is_plain:
            # What `optimizer.step` does, without Lightning's hooks: they cost as much as all else.
            optimizer._on_before_step()
            self.on_before_optimizer_step(optimizer.optimizer)
            optimizer.optimizer.step()
            optimizer._on_after_step()
        else:
            optimizer.step()
        optimizer.optimizer.zero_grad()

    @cached_property
    def _is_plain(self) -> bool:
        """Whether neither gradients are scaled nor weights or gradients shared among ranks."""
        strategy = self.trainer.strategy
        scaled = getattr(strategy.precision_plugin, "scaler", None) is not None
        return not scaled and not isinstance(strategy, ParallelStrategy)

    def _learn_from(self, batch: Batch, total_weight: Tensor) -> Tensor:
        """Adds to the gradient; returns this rank's share of the step's loss, Σ wᵢ·lᵢ / Σ wᵢ.

        The lower sum is over all samples that the optimiser's step is taken on, on every rank and
        in every batch: neither uneven parts nor an uneven last batch weigh too much.
        """
        profiler = self._profiler
        profiler.start("augmentation")
        # The pixels' places and statistics need whole floats, under mixed precision too.
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer.to_float(batch.inputs)
            inputs = self.input_layer.normalise(self.augmentation(inputs, batch.draws))
        self.dropout_keys.set(batch.keys)
        profiler.stop("augmentation")
        profiler.start("forward")
        outputs = self.network(inputs).float()
        weights = self.task.sample_weights(batch.targets)
        losses = weights * self.task.losses(outputs, batch.targets)
        loss: Tensor = losses.sum() / total_weight
        profiler.stop("forward")
        profiler.start("backward")
        if self._is_plain:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.manual_backward(loss * ranks.count())  # as the ranks' gradients are averaged
        profiler.stop("backward")
        profiler.start("logging")
        with torch.no_grad():
            predictions = self.task.predictions(outputs)
            self.train_figures.update(losses.detach(), weights, predictions, batch.targets)
        profiler.stop("logging")
        return loss.detach()

    @property
    def _profiler(self) -> Profiler:
        """Does nothing, unless `trainer.profile` asks for it."""
        profiler: Profiler = self.trainer.profiler  # type: ignore[attr-defined]
        return profiler

    @contextmanager
    def _not_synchronised(self) -> Iterator[None]:
        """Inside, gradients are summed up on this rank alone."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ParallelStrategy):
            with strategy.block_backward_sync():
                yield
        else:
            yield

    def _note(self, share: Tensor, step: int, rate: float) -> None:
        """Logs the step: straight to the loggers, as `self.log` would cost half a small step."""
        self.losses.add(share, step)
        logged = step % self._log_every() == 0
        # Reading waits for the device, which costs nothing on the CPU.
        if logged or share.device.type == "cpu" or self.losses.is_full():
            self._check_finite()
        if logged:
            loss = float(ranks.add_up(share))
            self._log({"train/step_loss": loss, "learning_rate": rate}, step)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=step)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips by the norm of the whole gradient, over all ranks, however it is shared out."""
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._clip_norm)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keeps what the network says of a batch of the validation split."""
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer(batch.inputs)
        outputs = self.network(inputs).float()
        losses = self.task.losses(outputs, batch.targets)
        predictions = self.task.predictions(outputs)
        self.validation_outputs.add(batch.rows, losses, predictions, batch.targets)

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
            "figures": self.train_figures.kept(),
            "buffers": {name: buffer.cpu() for name, buffer in own},
        }

    def load_rank_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `rank_state`."""
        set_random_state(state["random"])
        self.train_figures.take_up(state["figures"])
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

    def configure_optimizers(self) -> Optimizer:
        """The optimiser; its learning rate is set at each step."""
        if (
            self._clip_norm
            and self.trainer.precision == "16-mixed"
            and self._optimizer.get("fused")
        ):
            what = "a fused optimiser can't clip gradients under 16-mixed precision"
            raise ConfigError(what, where="optimizer.fused", mend="set it to false")
        # Not Lightning's own figure, which would make the loader before a checkpoint is loaded.
        epochs, data = self.trainer.max_epochs, self.trainer.datamodule  # type: ignore[attr-defined]
        self._total_steps, self._pace = epochs * data.steps_in_epoch, data.pace
        return build_optimizer(self._optimizer, self.network.parameters())

    def _log_every(self) -> int:
        return int(getattr(self.trainer, "log_every_n_steps", 0)) or 1

    def _log_epoch(self, split: str, figures: EpochFigures) -> float:
        values = figures.compute()
        named = {f"{split}/{name}": value for name, value in values.items()}
        # Lightning would log them under the number of its calls.
        self.log_dict(named, prog_bar=True, logger=False)
        self._log(named, self.global_step)
        return values["loss"]

    def _check_finite(self) -> None:
        for step, loss in self.losses.read():
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
