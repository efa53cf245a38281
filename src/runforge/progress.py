"""How far a training is: one line an epoch, and on a terminal a line that moves between them."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from runforge.terminal import print_text, rounded

DRAWN_EVERY_S = 0.1

CLEARED = "\r\x1b[K"
"""What takes the terminal's present line away."""


def can_move() -> bool:
    """Whether a line on stderr can be taken back: on a terminal that knows how."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class EpochLines(Callback):
    """`epoch 3/20  validation loss 0.0712, accuracy 0.981  41 steps/s`, on stderr."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of an epoch that goes on in its midst."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._began, self._step = time.perf_counter(), trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the line; the clock includes validation."""
        split = "validation/"
        found = {n: v for n, v in trainer.callback_metrics.items() if n.startswith(split)}
        shown = [f"{n.removeprefix(split)} {rounded(float(v))}" for n, v in found.items()]
        measured = [f"validation {', '.join(shown)}"] if shown else []
        print_text("  ".join([_epoch(trainer), *measured, self._rate(trainer)]), to=sys.stderr)

    def _rate(self, trainer: Trainer) -> str:
        rate = (trainer.global_step - self._step) / (time.perf_counter() - self._began)
        return f"{rate:.0f} steps/s" if rate >= 100 else f"{rate:.3g} steps/s"


class MovingLine(EpochLines):
    """The same, and while an epoch lasts one line that says how far it is.

    Only what is written moves: no thread draws, and no cursor is hidden, that a process which is
    killed would leave behind.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock; the line comes once an epoch takes long enough to be waited for."""
        super().on_train_epoch_start(trainer, pl_module)
        self._drawn = self._began + 4 * DRAWN_EVERY_S

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the line anew: a call of Lightning's may take several steps of the optimiser."""
        now = time.perf_counter()
        if now - self._drawn < DRAWN_EVERY_S:
            return
        self._drawn = now
        data = trainer.datamodule  # type: ignore[attr-defined]
        step = f"step {data.steps_done()}/{data.steps_in_epoch}"
        line = f"{_epoch(trainer)}  {step}  {self._rate(trainer)}"
        width = shutil.get_terminal_size().columns - 1
        print(f"{CLEARED}{line[:width]}", end="", file=sys.stderr, flush=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the epoch's line in the place of the moving one."""
        print(CLEARED, end="", file=sys.stderr)
        super().on_train_epoch_end(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leaves the line to what is told of the mistake."""
        print(CLEARED, end="", file=sys.stderr, flush=True)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
