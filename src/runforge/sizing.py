"""The step `size`: the largest batch that a training on this device has memory for.

Real steps of the real learner with sizes that double, then bisected. On a GPU a size that is too
large runs out of memory, which is caught; on the CPU that would take the machine along, so that no
size is tried which the slope of those before says would not fit.

Lightning's `BatchSizeFinder` is not used: it changes an attribute `batch_size` between two,
where a batch here is a part of a plan that is made of the configuration; it knows memory only by
running out of it, leaves no margin and tells no rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from runforge.batch_sizes import (
    GRANULARITY,
    HANDED_OVER,
    MARGIN,
    UNSEEN,
    BatchSizes,
    SizeTried,
    predicted_bytes,
)
from runforge.choices import with_values
from runforge.devices import device, device_type
from runforge.job import Job
from runforge.memory import CpuMemory, GpuMemory, Memory
from runforge.prepared import PreparedSet
from runforge.probes import Length, clear, probe
from runforge.settings import Settings
from runforge.trainer import quiet_lightning

LENGTH = Length(warm_s=0.3, timed_s=1.0)
"""Of each probe."""

FIRST = 2
"""Batch norm can't learn from a single sample."""


def run(job: Job) -> dict[str, str]:
    """Tries sizes, and hands over what it found of each."""
    prepared = PreparedSet.open(Path(job.prepared))
    with quiet_lightning():
        return {HANDED_OVER: _Search(job, prepared).search().to_text()}


class _Search:
    def __init__(self, job: Job, prepared: PreparedSet) -> None:
        self._job, self._prepared = job, prepared
        self._samples = len(prepared.rows("train"))
        machine = self._settings(1).machine
        self._on_gpu = device_type(machine) == "cuda"
        self._memory: Memory = (
            GpuMemory(device(machine), job.memory_bytes)
            if self._on_gpu
            else CpuMemory(job.memory_bytes)
        )
        self._usable_bytes = int((1 - MARGIN) * self._memory.limit_bytes)
        self._seen: list[SizeTried] = []
        """Those that fit."""

    def search(self) -> BatchSizes:
        """Doubles, then bisects; raises where the smallest can't be trained for another reason."""
        self._tried(FIRST)  # what is loaded and kept once is not the batch's
        self._seen.clear()
        every = list(self._sizes())
        return BatchSizes(self._memory.limit_bytes, self._samples, tuple(every))

    def _sizes(self) -> Iterator[SizeTried]:
        largest, size = 0, min(FIRST, self._samples)
        while True:
            found = self._tried(size)
            yield found
            if not found.fits:
                break
            largest = size
            if size == self._samples:
                return
            size = min(2 * size, self._samples)
        too_large = found.size
        while largest and too_large - largest > max(1, largest // GRANULARITY):
            found = self._tried((largest + too_large) // 2)
            yield found
            largest, too_large = (found.size, too_large) if found.fits else (largest, found.size)

    def _tried(self, size: int) -> SizeTried:
        if not self._on_gpu and len(self._seen) >= UNSEEN:
            expected = predicted_bytes(self._seen, size)
            if expected > self._usable_bytes:
                return SizeTried(size, expected, fits=False, why="would be too large; not tried")
        self._memory.begin()
        try:
            times = probe(self._job, self._settings(size), self._prepared, LENGTH)
        except torch.OutOfMemoryError:
            times = None
        peak_bytes = self._memory.peak_bytes()
        clear()
        if times is None:
            return SizeTried(size, 0, fits=False, why="out of memory")
        fits = peak_bytes <= self._usable_bytes
        why = "" if fits else f"leaves less than {MARGIN:.0%} of the memory"
        found = SizeTried(size, peak_bytes, fits, times.rate, why)
        if fits:
            self._seen.append(found)
        return found

    def _settings(self, size: int) -> Settings:
        values = with_values(self._job.configuration, {"data.batch_size": size})
        return Settings.model_validate(values)
