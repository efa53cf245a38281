"""What Lightning trains: a network with its task, augmentation, optimiser and schedule.

B samples in this rank's part of a batch. Logged once an epoch, over the samples of all ranks:
`train/loss`, `train/accuracy`, …, `validation/loss`, …; every `log_every_n_steps` steps:
`train/step_loss` and `learning_rate`, under the number of optimiser steps done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.profilers import PassThroughProfiler, Profiler
from torch import nn
from torch.optim.optimizer import Optimizer

from runforge import ranks
from runforge.blocks import shard
from runforge.dropout import replace_dropout
from runforge.epoch import EpochFigures, SplitOutputs, merged
from runforge.errors import ConfigError, TrainingError
from runforge.input_layer import InputLayer
from runforge.optimizers import Rate, build_optimizer, can_be_captured
from runforge.random_state import random_state, set_random_state
from runforge.schedules import Schedule
from runforge.schema import Schema
from runforge.step_graph import GRAPHS, StepGraph
from runforge.step_losses import StepLoss, StepLosses
from runforge.step_taking import LightningTaker, Outcome, Parts, Taker, is_plain
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
        graphs: bool | str = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.input_layer = InputLayer(schema)
        self.augmentation, self.network, self.task = augmentation, network, task
        self._optimizer, self._schedule, self._graphs = optimizer, schedule, graphs
        self.train_figures = EpochFigures(task)
        self.validation_figures = EpochFigures(task, every_rank_has_all=True)
        self.validation_outputs = SplitOutputs()
        self.losses = StepLosses()
        self.dropout_keys = replace_dropout(network)
        layer, keys = self.input_layer, self.dropout_keys
        self._parts = Parts(layer, augmentation, network, task, keys, clip_norm)

    def training_step(self, steps: Steps, call: int) -> None:
        """Takes the steps of the optimiser, one behind the other.

        Lightning calls this once for all of them, for its call costs as much as a small step.
        """
        began_s = time.perf_counter()
        number = self.global_step
        for step in steps:
            number += 1
            self._take(step, number)
        if not isinstance(self._taker, LightningTaker):
            self._count(len(steps))
        self._profiler.start("logging")
        self.losses.send(self._log_every())
        self._log_losses(self.losses.read_ready())
        self._profiler.stop("logging")
        self._pace.note(len(steps), time.perf_counter() - began_s)

    def _take(self, step: Step, number: int) -> None:
        rate = self._optimizer["learning_rate"] * self._schedule(number - 1, self._total_steps)
        self._rate.set(rate)
        outcome = self._taker(step)
        self._profiler.start("logging")
        self.losses.add(number, rate, outcome.share)
        for samples in outcome.samples:
            self.train_figures.update(*samples)
        self._profiler.stop("logging")

    def _count(self, steps: int) -> None:
        """Tells Lightning of steps that it did not see: `global_step` is their number."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += steps
            count.completed += steps

    def log_losses(self) -> None:
        """Logs every step that is done; raises `TrainingError` where a loss is no finite number."""
        self._log_losses(self.losses.read())

    def _log_losses(self, losses: Iterable[StepLoss]) -> None:
        for step, rate, share, loss in losses:
            if not math.isfinite(share):
                raise TrainingError(self._diverged("loss", share, step))
            if loss is not None:
                self._log({"train/step_loss": loss, "learning_rate": rate}, step)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=step)

    def on_train_start(self) -> None:
        """Takes up the optimiser, when a checkpoint has been loaded."""
        wrapped, plain = self.optimizers(), is_plain(self.trainer)
        assert isinstance(wrapped, LightningOptimizer)
        self._profiler: Profiler = self.trainer.profiler  # type: ignore[attr-defined]
        on_device = plain and self.device.type == "cuda" and can_be_captured(wrapped.optimizer)
        self._rate = Rate(wrapped.optimizer, on_device=self.device if on_device else None)
        self._taker: Callable[[Step], Outcome]
        if plain:
            taker = Taker(self._parts, wrapped.optimizer, self)
            self._taker = self._graph_of(taker) if on_device else taker
        else:
            self._taker = LightningTaker(self._parts, wrapped, self)
        if self._graphs is True and not isinstance(self._taker, StepGraph):
            what = "it is for one CUDA GPU, steps of one batch, and no module that draws at random"
            raise ConfigError(what, where=GRAPHS, mend="set it to auto")

    def _graph_of(self, take: Taker) -> Callable[[Step], Outcome]:
        """The steps as CUDA graphs, where they are wanted and can be."""
        plan, profiler = self.trainer.datamodule.plan, self._profiler  # type: ignore[attr-defined]
        fits = plan.accumulate == 1 and not self.dropout_keys.left
        if self._graphs and fits and isinstance(profiler, PassThroughProfiler):
            return StepGraph(take, size=plan.batch_size, needed=self._graphs is True)
        return take

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Lightning calls this where it takes the step itself."""
        self._parts.clip()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keeps what the network says of a batch of the validation split."""
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.input_layer(batch.inputs)
        outputs = self.network(inputs).float()
        losses = self.task.losses(outputs, batch.targets)
        self.validation_outputs.add(batch.rows, losses, outputs, batch.targets)

    def on_validation_epoch_start(self) -> None:
        """Before any weights of this epoch can be kept."""
        self.log_losses()
        # Without synchronised batch norm, each rank has running statistics of its own.
        for buffer in self.network.buffers():
            ranks.take_from_first(buffer)

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's figures of the training split."""
        self.log_losses()
        self._log_epoch("train", self.train_figures)

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the validation split, from its samples in the order of the data.

        So they are the same however many ranks there are: nothing is padded, no mean is averaged.
        """
        losses, outputs, targets = self.validation_outputs.take()
        weights = self.task.sample_weights(targets)
        losses = losses if weights is None else weights * losses
        self.validation_figures.update(losses, weights, outputs, targets)
        loss = self._log_epoch("validation", self.validation_figures)
        if not math.isfinite(loss):
            raise TrainingError(self._diverged("validation loss", loss, self.global_step))

    def measured(self) -> list[str]:
        """The names of the epochs' figures, of the splits that have samples."""
        names = [f"train/{name}" for name in self.train_figures.names()]
        if self.trainer.datamodule.validates:  # type: ignore[attr-defined]
            names += [f"validation/{name}" for name in self.validation_figures.names()]
        return sorted(names)

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
            self._parts.clip_norm
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
        # `self.log` would log them under the number of its calls, and cost as much as a few steps.
        self.trainer.callback_metrics.update(
            {name: torch.tensor(value) for name, value in named.items()}
        )
        self._log(named, self.global_step)
        return values["loss"]

    def _diverged(self, name: str, loss: float, step: int) -> str:
        rate = self._optimizer["learning_rate"]
        where = f"epoch {self.current_epoch}, step {step}"
        return f"the {name} became {loss} at {where}; lower optimizer.learning_rate={rate}"
