"""The step `choose`: which of the choices that change no more than time makes training shortest.

Each is tried by real steps of the real learner, one key after the other, and kept where it makes
the whole training shorter by more than noise. What is built here is thrown away: the training
begins afterwards, in a process of its own, as if the choices had been given by hand.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from runforge import fitting, ranks
from runforge.choices import HANDED_OVER, Choices, Tried, Value, told_as, with_values
from runforge.devices import device, device_type
from runforge.errors import in_one_line, of_the_machine
from runforge.job import Job
from runforge.orders import batch_bounds
from runforge.prepared import PreparedSet
from runforge.settings import Settings
from runforge.trainer import quiet_lightning, trial_trainer

NOISE = 0.03
"""A training that is shorter by less is not taken for shorter."""

WARM_S, WARM_CALLS = 1.0, 10
"""The warm steps are over after so long, or so many calls of the loop; the first does not count."""

TIMED_S, LEAST_CALLS = 3.0, 3
"""How long steps are timed, and how many calls of the loop at least."""

LEAST_COMPILE_S = 10.0
"""No network is compiled in less: a training that takes no longer is not tried with it."""

CAUSE_LENGTH = 160


def run(job: Job) -> dict[str, str]:
    """Measures and chooses, on every rank alike: rank 0's times decide."""
    prepared = PreparedSet.open(Path(job.prepared))
    with quiet_lightning():
        return {HANDED_OVER: _Search(job, prepared).choose().to_text()}


@dataclass(frozen=True, slots=True)
class Times:
    """What a trial has shown."""

    step_s: float
    start_s: float
    """Beyond that of its steps, what the first ones took."""
    steps: int
    """Of the whole training."""


class _Search:
    def __init__(self, job: Job, prepared: PreparedSet) -> None:
        self._job, self._prepared = job, prepared
        self._values: dict[str, Value] = {}
        self._tried: list[Tried] = []

    def choose(self) -> Choices:
        """Tries one key after the other; raises where what was given can't be trained itself."""
        best = self._told("as given", self._trial({}), {})
        self._tried.append(best)
        for key, value in self._levers(best):
            tried = self._attempt(key, value)
            if tried.total_s is not None and best.total_s is not None:
                kept = tried.total_s < (1 - NOISE) * best.total_s
                tried = replace(tried, verdict="kept" if kept else "not faster")
                best = tried if kept else best
            self._tried.append(tried)
            self._values[key] = value if tried is best else self._given(key)
        return Choices(self._values, tuple(self._tried))

    def _levers(self, first: Tried) -> Iterator[tuple[str, Value]]:
        """Precision before compiling, which takes long and depends on it."""
        settings = self._settings({})
        on_gpu = device_type(settings.machine) == "cuda"
        if not on_gpu and settings.machine.threads is None and torch.get_num_threads() > 1:
            yield "machine.threads", 1
        if on_gpu and settings.trainer.precision == "32-true" and torch.cuda.is_bf16_supported():
            yield "trainer.precision", "bf16-mixed"
        if not settings.trainer.compile and (first.total_s or 0.0) > LEAST_COMPILE_S:
            yield "trainer.compile", True

    def _given(self, key: str) -> Value:
        part, _, name = key.partition(".")
        given: Value = self._job.configuration[part][name]
        return given

    def _settings(self, changed: dict[str, Value]) -> Settings:
        values = with_values(self._job.configuration, {**self._values, **changed})
        return Settings.model_validate(values)

    def _attempt(self, key: str, value: Value) -> Tried:
        """A trial that may fail, on one rank or on all."""
        name, cause = told_as(key, value), ""
        try:
            found = self._trial({key: value})
        except Exception as error:
            if ranks.is_lost_contact(error):
                raise
            cause = of_the_machine(error) or in_one_line(error)
        _clear()
        cause = next(filter(None, ranks.gather(cause)), "")
        if cause:
            return Tried(name, "can't be", cause=cause[:CAUSE_LENGTH])
        return self._told(name, found, {key: value})

    def _trial(self, changed: dict[str, Value]) -> Times:
        """Trains for a while with those values changed; the times of rank 0, on every rank."""
        settings = self._settings(changed)
        watch = Stopwatch(device(settings.machine))
        with _threads(settings.machine.threads):
            parts = fitting.build(self._job, settings, self._prepared)
            trainer = trial_trainer(settings, watch)
            trainer.fit(parts.learner, parts.data)
        steps = settings.trainer.max_epochs * parts.data.steps_in_epoch
        step_s = watch.step_s()
        return ranks.tell_all(Times(step_s, watch.start_s(step_s), steps))

    def _told(self, name: str, times: Times, changed: dict[str, Value]) -> Tried:
        # Without compiling, what the first steps take longer is the same for each, and noise.
        compiled = self._settings(changed).trainer.compile
        start_s = times.start_s * self._shapes() if compiled else 0.0
        total_s = start_s + times.step_s * times.steps
        return Tried(name, "", times.step_s * 1000, start_s, total_s)

    def _shapes(self) -> int:
        """How many sizes of batches a network is compiled for; validation counts as one."""
        size = self._settings({}).data.batch_size
        bounds = batch_bounds(len(self._prepared.rows("train")), size)
        sizes = {end - begin for begin, end in bounds}
        return len(sizes) + bool(len(self._prepared.rows("validation")))


class Stopwatch(Callback):
    """Times the steps after the first few, and ends the trial; the same on every rank."""

    def __init__(self, where: torch.device) -> None:
        self._device = where
        self._begun_s = self._last_s = 0.0
        self._calls, self._done, self._warm_steps = 0, 0, 0
        self._first_s = self._warm_s = 0.0
        self._wanted: int | None = None
        self._times_s: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._begun_s = self._last_s = self._now_s()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Takes in a call of training's loop, which is one step or more."""
        now_s, steps = self._now_s(), trainer.global_step - self._done
        call_s, self._last_s = now_s - self._last_s, now_s
        self._done = trainer.global_step
        self._calls += 1
        if self._wanted is None:
            self._warm_up(call_s, now_s)
            return
        self._times_s.append(call_s / steps)
        trainer.should_stop = len(self._times_s) >= self._wanted

    def step_s(self) -> float:
        """The median of a step's time."""
        return statistics.median(self._times_s)

    def start_s(self, step_s: float) -> float:
        """What the warm steps took longer than others of their number."""
        return max(self._warm_s - self._warm_steps * step_s, 0.0)

    def _warm_up(self, call_s: float, now_s: float) -> None:
        if self._calls == 1:
            self._first_s = now_s
            return
        over = now_s - self._first_s >= WARM_S or self._calls > WARM_CALLS
        wanted = max(LEAST_CALLS, int(TIMED_S / call_s)) if over else None
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


def _clear() -> None:
    """Gives back what a trial that failed has left, too."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
