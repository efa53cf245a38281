"""The step `choose`: with which of a few choices the training is shortest.

Each is tried by real steps of the real learner, one key after the other, and kept where it makes
the whole training shorter by more than noise. What is built here is thrown away: the training
begins afterwards, in a process of its own, as if the choices had been given by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from runforge import ranks
from runforge.choices import HANDED_OVER, Choices, Tried, Value, told_as, with_values
from runforge.devices import device_type
from runforge.errors import in_one_line, of_the_machine
from runforge.job import Job
from runforge.orders import batch_bounds
from runforge.prepared import PreparedSet
from runforge.probes import Length, Times, clear, probe
from runforge.settings import Settings
from runforge.trainer import quiet_lightning

NOISE = 0.03
"""A training that is shorter by less is not taken for shorter."""

LENGTH = Length(warm_s=1.0, timed_s=3.0)
"""Of each probe."""

LEAST_COMPILE_S = 10.0
"""No network is compiled in less: a training that takes no longer is not tried with it."""

CAUSE_LENGTH = 160


def run(job: Job) -> dict[str, str]:
    """Measures and chooses, on every rank alike: rank 0's times decide."""
    prepared = PreparedSet.open(Path(job.prepared))
    with quiet_lightning():
        return {HANDED_OVER: _Search(job, prepared).choose().to_text()}


class _Search:
    def __init__(self, job: Job, prepared: PreparedSet) -> None:
        self._job, self._prepared = job, prepared
        self._values: dict[str, Value] = {}
        self._tried: list[Tried] = []

    def choose(self) -> Choices:
        """Tries one key after the other; raises where what was given can't be trained itself."""
        best = self._told("as given", self._probe({}), {})
        clear()
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
        """A probe that may fail, on one rank or on all."""
        name, cause = told_as(key, value), ""
        try:
            found = self._probe({key: value})
        except Exception as error:
            if ranks.is_lost_contact(error):
                raise
            cause = of_the_machine(error) or in_one_line(error)
        clear()
        cause = next(filter(None, ranks.gather(cause)), "")
        if cause:
            return Tried(name, "can't be", cause=cause[:CAUSE_LENGTH])
        return self._told(name, found, {key: value})

    def _probe(self, changed: dict[str, Value]) -> Times:
        return probe(self._job, self._settings(changed), self._prepared, LENGTH)

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
