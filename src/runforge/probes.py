"""Probes: for a while, real steps of the real learner, of which nothing is kept but their times."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from runforge import fitting, ranks
from runforge.devices import device
from runforge.job import Job
from runforge.prepared import PreparedSet
from runforge.settings import Settings
from runforge.trainer import probe_trainer

LEAST_CALLS = 3
"""Calls of training's loop that are timed, at least."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a probe takes, beside building its parts and its first call of training's loop."""

    warm_s: float
    """Until steps are timed; or until `warm_calls` calls of the loop were made."""
    timed_s: float
    warm_calls: int = 10


@dataclass(frozen=True, slots=True)
class Times:
    """What a probe has shown."""

    step_s: float
    """Median."""
    start_s: float
    """What the first steps took longer than others of their number."""
    rate: float
    """Samples a second: median, of all calls, those with the smaller last batch too."""
    steps: int
    """Of the whole training."""


def probe(job: Job, settings: Settings, prepared: PreparedSet, length: Length) -> Times:
    """Trains for a while with those settings; the times of rank 0, on every rank.

    `clear` after it, also where it raises.
    """
    watch = Stopwatch(device(settings.machine), length)
    with _threads(settings.machine.threads):
        parts = fitting.build(job, settings, prepared)
        probe_trainer(settings, watch).fit(parts.learner, parts.data)
    steps = settings.trainer.max_epochs * parts.data.steps_in_epoch
    return ranks.tell_all(Times(watch.step_s, watch.start_s, watch.rate, steps))


def clear() -> None:
    """Gives back the memory of what a probe has made."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Stopwatch(Callback):
    """Times the steps after the first few, and ends the probe; the same on every rank."""

    def __init__(self, where: torch.device, length: Length) -> None:
        self._device, self._length = where, length
        self._begun_s = self._first_s = self._last_s = self._warm_s = 0.0
        self._calls, self._done, self._warm_steps = 0, 0, 0
        self._wanted: int | None = None
        self._times_s: list[float] = []
        self._rates: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._begun_s = self._last_s = self._now_s()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes in a call of training's loop, which is one step or more."""
        now_s, steps = self._now_s(), trainer.global_step - self._done
        call_s, self._last_s = now_s - self._last_s, now_s
        self._done = trainer.global_step
        self._calls += 1
        if self._wanted is None:
            self._warm_up(call_s, now_s)
            return
        self._times_s.append(call_s / steps)
        self._rates.append(sum(batch.target_sizes) / call_s)
        trainer.should_stop = len(self._times_s) >= self._wanted

    @property
    def step_s(self) -> float:
        """The median of a step's time."""
        return statistics.median(self._times_s)

    @property
    def rate(self) -> float:
        """The median of samples a second, of every rank."""
        return statistics.median(self._rates)

    @property
    def start_s(self) -> float:
        """What the warm steps took longer than others of their number."""
        return max(self._warm_s - self._warm_steps * self.step_s, 0.0)

    def _warm_up(self, call_s: float, now_s: float) -> None:
        if self._calls == 1:
            self._first_s = now_s  # compiling is over, and what else is done once
            return
        over = now_s - self._first_s >= self._length.warm_s
        over = over or self._calls > self._length.warm_calls
        wanted = max(LEAST_CALLS, int(self._length.timed_s / call_s)) if over else None
        self._wanted = ranks.tell_all(wanted)
        self._warm_s, self._warm_steps = now_s - self._begun_s, self._done

    def _now_s(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Inside, torch computes with so many threads (None: as it does)."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
