"""How far a training is: a bar, or one line an epoch where none can be drawn."""

from __future__ import annotations

import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, RichProgressBar


class EpochLines(Callback):
    """`epoch 3/20  validation/accuracy 0.981  validation/loss 0.0712  41 steps/s`, on stderr."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of an epoch that goes on in its midst."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._began, self._step = time.perf_counter(), trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the line; the clock includes validation."""
        rate = (trainer.global_step - self._step) / (time.perf_counter() - self._began)
        metrics = {n: v for n, v in trainer.callback_metrics.items() if n.startswith("validation/")}
        shown = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{epoch}  {shown}  {rate:.3g} steps/s", file=sys.stderr)


class StepsBar(RichProgressBar):
    """Lightning's bar, in steps of the optimiser: one of its calls may take several."""

    @property
    def total_train_batches(self) -> int:
        """Steps in an epoch."""
        return int(self.trainer.datamodule.steps_in_epoch)  # type: ignore[attr-defined]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        done = trainer.datamodule.steps_done()  # type: ignore[attr-defined]
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done - 1)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What is shown behind the bar: the figures of the epoch before."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {**super().get_metrics(trainer, pl_module), **figures}
