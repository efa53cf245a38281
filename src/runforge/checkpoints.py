"""What training keeps on disk while it runs: where to go on after a restart, and the best weights.

Each lies under a name of its own, is written beside that name, flushed and renamed; older ones go
only when a newer one is there. One file, or with sharded weights a folder with a part from each
rank, which loads on any other number of devices too.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded

from runforge import ranks
from runforge.errors import ConfigError

LAST, BEST, PARTIAL = "last-", "best-", "partial-"


class Checkpoints(Checkpoint):
    """Keeps the weights of the best epoch, and at an epoch's end all that training needs to go on.

    `monitor` None: no best weights. `interval_s` None: nothing to go on from; else the least time
    between two, by the clock of rank 0. Raises `ConfigError` where the monitor is not measured.
    """

    def __init__(
        self, folder: Path, *, monitor: str | None, mode: str, interval_s: float | None
    ) -> None:
        self._folder, self._monitor, self._interval_s = folder, monitor, interval_s
        self._sign = 1.0 if mode == "min" else -1.0
        self._best_value, self.best_epoch = math.inf, -1
        self._saved_s = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Not before the next epoch are an epoch's metrics in the journal."""
        if trainer.current_epoch > 0 and self._is_due():
            self._save(trainer, f"{LAST}{trainer.current_epoch:06d}", weights_only=False)
            self._saved_s = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights where they are the best so far."""
        if self._monitor is None:
            return
        value = trainer.callback_metrics.get(self._monitor)
        if value is None:
            mend = f"known: {', '.join(sorted(trainer.callback_metrics))}"
            what = "nothing of that name is measured"
            raise ConfigError(what, where="trainer.monitor", mend=mend)
        if self._sign * float(value) < self._best_value:
            self._best_value, self.best_epoch = self._sign * float(value), trainer.current_epoch
            self._save(trainer, self._best_name, weights_only=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Says that no epoch has begun: Lightning takes one that has for done, and skips it."""
        if "loops" not in checkpoint:
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["started"] = count["processed"] = count["completed"]

    def state_dict(self) -> dict[str, Any]:
        """What Lightning puts into a checkpoint."""
        return {"best_value": self._best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def load_best(self, module: nn.Module) -> None:
        """Puts the best weights into the module: whole ones on rank 0, sharded ones everywhere."""
        path = self._folder / self._best_name
        if path.is_dir():
            state = {"state_dict": get_model_state_dict(module)}
            load_sharded(state, checkpoint_id=path)
            set_model_state_dict(module, state["state_dict"])
        elif ranks.is_first():
            kept = torch.load(path, map_location="cpu", weights_only=True)
            module.load_state_dict(kept["state_dict"])

    @property
    def _best_name(self) -> str:
        return f"{BEST}{self.best_epoch:06d}"

    def _is_due(self) -> bool:
        if self._interval_s is None:
            return False
        return ranks.tell_all(time.monotonic() - self._saved_s >= self._interval_s)

    def _save(self, trainer: Trainer, name: str, *, weights_only: bool) -> None:
        beside = self._folder / f"{PARTIAL}{name}"
        if ranks.is_first():
            self._folder.mkdir(parents=True, exist_ok=True)
            _remove(beside)
        ranks.wait_for_all()
        trainer.save_checkpoint(beside, weights_only=weights_only)
        if ranks.is_first():
            _flush(beside)
            _remove(self._folder / name)
            beside.rename(self._folder / name)
            self._clear_away(name)
        ranks.wait_for_all()

    def _clear_away(self, newest: str) -> None:
        """Best weights are left until nothing could go back to them."""
        kept = {newest, self._best_name}
        for path in self._folder.iterdir():
            old_best = path.name.startswith(BEST) and (
                self._interval_s is None or newest.startswith(LAST)
            )
            old_last = path.name.startswith(LAST) and newest.startswith(LAST)
            if path.name not in kept and (old_best or old_last):
                _remove(path)


class WholeFile(TorchCheckpointIO):
    """Writes where it is told to; Lightning's own way goes through another file system.

    Reads on rank 0, for the others may be on machines that have no such file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """One file, not yet flushed."""
        torch.save(checkpoint, path)

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


def newest(folder: Path) -> Path | None:
    """The checkpoint to go on from; None where training is to begin."""
    return max(folder.glob(f"{LAST}*"), default=None)


def full_weights(module: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, on rank 0; with sharded ones every rank must ask."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_model_state_dict(module, options=options))  # type: ignore[arg-type]


def _flush(path: Path) -> None:
    for file in (path, *(path.rglob("*") if path.is_dir() else ())):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
