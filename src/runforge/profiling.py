"""Measures the parts of training's steps, for a while, through Lightning's interface for it."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from pytorch_lightning.profilers import Profiler
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from runforge.epoch import AT_ONCE
from runforge.profile_file import TRACE, Profile

PARTS = {
    "train_dataloader_next": "loading",
    "batch_to_device": "copy",
    "augmentation": "augmentation",
    "forward": "forward",
    "backward": "backward",
    "optimizer_step": "optimizer",
    "logging": "logging",
}
"""What Lightning and the learner call an action, by its last word, and what it is called here."""

ENOUGH = {"warm": 10, "early": AT_ONCE, "timed": AT_ONCE, "traced": 10}
"""Steps of each state. The metrics take in so many steps together, and the first time a GPU loads
their kernels for it: what is measured early stands only where the training ends soon after."""

TIMED = ("early", "timed")
_NEXT = {"warm": "early", "early": "timed", "timed": "traced", "traced": "done"}


class StepProfiler(Profiler):
    """Times the steps after the first few, traces some more, and does nothing from then on.

    It waits for the device at the begin and end of each part: what is measured is somewhat slower
    than it is without.
    """

    def __init__(self, folder: Path, *, batch_size: int, device: torch.device) -> None:
        super().__init__()
        self._folder, self._batch_size, self._device = folder, batch_size, device
        self._began_s: dict[str, float] = {}
        self._taken_s = dict.fromkeys(PARTS.values(), 0.0)
        self._steps, self._window_s = 0, 0.0
        self._labels: list[record_function] = []
        self._trace: profile | None = None
        self._state = "warm"

    def start(self, action_name: str) -> None:
        """Begins a part; the first part of a call also ends what the call before belongs to."""
        part = PARTS.get(action_name.rpartition(".")[2])
        if part is None or self._state == "done":
            return
        if part == "loading":
            self._between_calls()
        if self._state == "traced":
            self._labels.append(record_function(part))
            self._labels[-1].__enter__()  # type: ignore[no-untyped-call]
        elif self._state in TIMED:
            self._began_s[part] = self._now_s()

    def stop(self, action_name: str) -> None:
        """Ends a part."""
        part = PARTS.get(action_name.rpartition(".")[2])
        if part is None or self._state == "done":
            return
        if self._labels:
            self._labels.pop().__exit__(None, None, None)
        elif part in self._began_s:
            self._taken_s[part] += self._now_s() - self._began_s.pop(part)
        self._steps += part == "optimizer"

    def _between_calls(self) -> None:
        if self._steps < ENOUGH[self._state]:
            return
        if self._state in TIMED:
            self._end_timing()
        if self._state == "traced":
            self._end_trace()
        self._state = _NEXT[self._state]
        if self._state in TIMED:
            self._taken_s = dict.fromkeys(PARTS.values(), 0.0)
            self._window_s = self._now_s()
        if self._state == "traced":
            self._begin_trace()
        self._steps = 0

    def teardown(self, stage: str | None) -> None:
        """Ends what the end of the training cut short."""
        if self._state == "early" and self._steps:
            self._end_timing()
        if self._state == "traced":
            self._end_trace()
        self._state = "done"

    def _end_timing(self) -> None:
        whole_s = self._now_s() - self._window_s
        parts_s = {**self._taken_s, "other": max(whole_s - sum(self._taken_s.values()), 0.0)}
        parts_ms = {part: taken_s * 1000 / self._steps for part, taken_s in parts_s.items()}
        self._folder.mkdir(parents=True, exist_ok=True)
        Profile(parts_ms, self._steps, self._batch_size, _name(self._device)).write(self._folder)

    def _begin_trace(self) -> None:
        kinds = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            kinds.append(ProfilerActivity.CUDA)
        self._trace = profile(activities=kinds)
        self._trace.start()

    def _end_trace(self) -> None:
        assert self._trace is not None
        while self._labels:
            self._labels.pop().__exit__(None, None, None)
        self._trace.stop()
        self._trace.export_chrome_trace(str(self._folder / TRACE))

    def _now_s(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
