"""What training keeps while it runs: where to go on from when it is stopped, and the best weights.

A checkpoint is taken between two calls of training's loop, each of whole steps: all before
it is done and logged, and what follows is a function of what is kept. So a training that goes on
ends with the same weights, bit for bit, as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded

from runforge import ranks
from runforge.checkpoint_files import CheckpointFiles, best_name, last_name
from runforge.errors import ConfigError
from runforge.notices import notice
from runforge.stopping import HERE

RANKS = "runforge_ranks"
"""The key, in a checkpoint, of what each rank has of its own."""


def check_monitor(learner: LightningModule, monitor: str) -> None:
    """Raises `ConfigError` where no epoch can have it: before the first, which may take hours."""
    measured: list[str] = learner.measured()  # type: ignore[operator]
    if monitor not in measured:
        what = "nothing of that name is measured"
        raise ConfigError(what, where="trainer.monitor", mend=f"known: {', '.join(measured)}")


class Checkpoints(Checkpoint):
    """Keeps the weights of the best epoch, and from time to time all that training needs to go on.

    `monitor` None: no best weights. `interval_s` is the least time between two checkpoints, by the
    clock of rank 0; one more is taken where the training is told to stop. Raises `ConfigError`
    before the first step where the monitor is not measured.
    """

    def __init__(
        self,
        files: CheckpointFiles,
        *,
        monitor: str | None,
        mode: str,
        interval_s: float,
    ) -> None:
        self._files, self._monitor = files, monitor
        self._sign = 1.0 if mode == "min" else -1.0
        self._best_value, self.best_epoch = math.inf, -1
        self._clock = SharedClock(interval_s)
        self._to_restore: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch that goes on at its first batch begins: Lightning would validate first."""
        if self._monitor is not None:
            check_monitor(pl_module, self._monitor)
        loop = trainer.fit_loop.epoch_loop
        if loop.restarting and not loop.batch_progress.current.completed:
            loop.restarting = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Goes on from what was loaded; keeps a checkpoint when it is time, or the time to stop."""
        if self._to_restore is not None:
            pl_module.load_rank_state(self._to_restore)  # type: ignore[operator]
            self._to_restore = None
        goes_on = HERE.step_begins()
        if not goes_on or self._clock.is_due():
            pl_module.log_losses()  # type: ignore[operator]
            done = trainer.datamodule.steps_done()  # type: ignore[attr-defined]
            name = last_name(trainer.current_epoch, done, self.best_epoch)
            self._save(trainer, name, weights_only=False)
        if not goes_on:
            self.stand()

    def on_validation_batch_start(self, trainer: Trainer, *rest: Any) -> None:
        """A stop comes to the next step of training, as far as `machine.stop_s` reaches."""
        HERE.step_begins(training=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights where they are the best so far."""
        if self._monitor is None:
            return
        value = trainer.callback_metrics.get(self._monitor)
        if value is None:  # it has none in this epoch, as R² of one sample
            return
        if self._sign * float(value) < self._best_value:
            self._best_value, self.best_epoch = self._sign * float(value), trainer.current_epoch
            self._save(trainer, best_name(self.best_epoch), weights_only=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is handed on before it is on disk."""
        if self._monitor is not None and self.best_epoch < 0 and ranks.is_first():
            what = f"{self._monitor} had no value in any epoch: the last weights are kept"
            notice(what, where="trainer.monitor", hint="choose another")
        self._files.finish()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what each rank has of its own, and says that the batch that begins is not begun."""
        checkpoint[RANKS] = ranks.gather(pl_module.rank_state())  # type: ignore[operator]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress["is_last_batch"] = False
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers this rank's own part; another number of ranks shares nothing of that kind."""
        parts = checkpoint[RANKS]
        if len(parts) == ranks.count():
            self._to_restore = parts[ranks.here().rank]
        elif ranks.is_first():
            self._to_restore = pl_module.merged_rank_state(parts)  # type: ignore[operator]

    def state_dict(self) -> dict[str, Any]:
        """What Lightning puts into a checkpoint."""
        return {"best_value": self._best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def load_best(self, module: nn.Module) -> None:
        """Puts the best weights into the module: whole ones on rank 0, sharded ones everywhere.

        Raises `TrainingError` where they are damaged.
        """
        found = self._files.best(self.best_epoch) if ranks.is_first() else None
        path = ranks.tell_all(found)
        assert path is not None
        if path.is_dir():
            state = {"state_dict": get_model_state_dict(module)}
            load_sharded(state, checkpoint_id=path)
            set_model_state_dict(module, state["state_dict"])
        elif ranks.is_first():
            kept = torch.load(path, map_location="cpu", weights_only=True)
            module.load_state_dict(kept["state_dict"])

    def stand(self) -> None:
        """Ends a training that was told to stop, with what it has kept on disk."""
        self._files.finish()
        # Who ends first closes its connections: not before rank 0 has written.
        with suppress(RuntimeError):
            ranks.wait_for_all()
        HERE.stand()

    def _save(self, trainer: Trainer, name: str, *, weights_only: bool) -> None:
        if not isinstance(trainer.strategy, ModelParallelStrategy):
            trainer.save_checkpoint(name, weights_only=weights_only)
            return
        partial = ranks.tell_all(self._files.partial(name) if ranks.is_first() else None)
        assert partial is not None
        trainer.save_checkpoint(partial, weights_only=weights_only)
        if ranks.is_first():
            self._files.keep(partial, name)
        ranks.wait_for_all()


class SharedClock:
    """Whether an interval has passed by rank 0's clock, which the ranks rarely have to ask."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._began_s = self._asked_s = time.monotonic()
        self._steps = self._steps_to_ask = 1

    def is_due(self) -> bool:
        """Called before every step on every rank, with the same answer on each."""
        self._steps_to_ask -= 1
        if self._steps_to_ask > 0:
            return False
        due, self._steps_to_ask = ranks.tell_all(self._ask())
        self._steps = self._steps_to_ask
        return due

    def _ask(self) -> tuple[bool, int]:
        """Whether it is time, and when to ask again: half-way there, as far as can be told yet."""
        now_s = time.monotonic()
        step_s = (now_s - self._asked_s) / self._steps
        self._asked_s = now_s
        due = now_s - self._began_s >= self._interval_s
        if due:
            self._began_s = now_s
        remaining_s = self._began_s + self._interval_s - now_s
        half_way = int(remaining_s / max(step_s, 1e-6) / 2)
        return due, max(1, min(half_way, 2 * self._steps))


class WholeFile(TorchCheckpointIO):
    """Writes beside the training, from a copy; Lightning's way goes through another file system.

    Reads on rank 0, for the others may be on machines that have no such file.
    """

    def __init__(self, files: CheckpointFiles) -> None:
        self._files = files

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """One file of that name, in the folder of checkpoints."""
        # Not `clone`: what lies on the CPU must be copied too, and on a GPU not twice.
        copied = apply_to_collection(checkpoint, Tensor, lambda t: t.detach().to("cpu", copy=True))
        self._files.write(Path(path).name, lambda partial: torch.save(copied, partial))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What was saved, on every rank."""
        mine = None
        if ranks.is_first():
            mine = dict(torch.load(path, map_location="cpu", weights_only=True))
        loaded = ranks.tell_all(mine)
        assert loaded is not None
        return loaded


def full_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, on rank 0; with sharded ones every rank must ask."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(module, options=options))  # type: ignore[arg-type]
