"""How much memory there is for a training, and how much of it was taken at most."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import torch

from runforge import allocator

_GROUPS = Path("/sys/fs/cgroup")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Memory(Protocol):
    """That of a device."""

    limit_bytes: int
    """What this process may take in all."""

    def begin(self) -> None:
        """From now on the peak is looked for."""
        ...

    def peak_bytes(self) -> int:
        """The most that was taken since."""
        ...


class GpuMemory:
    """That of a GPU, as torch's allocator has it; a limit is kept by the allocator."""

    def __init__(self, device: torch.device, limit_bytes: int | None) -> None:
        self._device = device
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device)
        self.limit_bytes = min(free, limit_bytes or free)
        torch.cuda.set_per_process_memory_fraction(self.limit_bytes / total, device)

    def begin(self) -> None:
        """From now on the peak is looked for."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak_bytes(self) -> int:
        """The most that was allocated since."""
        return int(torch.cuda.max_memory_allocated(self._device))


class CpuMemory:
    """That of this process; pages of mapped files that were there before do not count."""

    def __init__(self, limit_bytes: int | None) -> None:
        available = _own("VmRSS") + min(_left_in_groups(), psutil.virtual_memory().available)
        self.limit_bytes = min(available, limit_bytes or available)
        self._of_files = 0

    def begin(self) -> None:
        """From now on the peak is looked for, where the system can forget the one before."""
        allocator.give_back_freed_memory()  # what a larger training had is not this one's
        if _RESET.exists():
            _RESET.write_text("5")
        self._of_files = _own("RssFile")

    def peak_bytes(self) -> int:
        """The most that was resident since."""
        return _own("VmHWM") - self._of_files


def _own(name: str) -> int:
    """A figure of this process in bytes, by its name in Linux; elsewhere the nearest to it."""
    if _STATUS.is_file():
        lines = (line.split() for line in _STATUS.read_text().splitlines())
        return next((int(line[1]) * 1024 for line in lines if line[0] == f"{name}:"), 0)
    if name == "VmHWM":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(psutil.Process().memory_info().rss) if name == "VmRSS" else 0


def _left_in_groups() -> float:
    """What the control groups of this process (a container's, a job's) leave to it."""
    return min(map(_left, _groups()), default=float("inf"))


def _groups() -> Iterator[Path]:
    """The groups' folders: this process's, and those above it; of cgroups v2 and v1."""
    file = Path("/proc/self/cgroup")
    for line in file.read_text().splitlines() if file.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = _GROUPS / controllers
            own = top / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _left(group: Path) -> float:
    for limit, used, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if not (group / limit).is_file():
            continue
        text = (group / limit).read_text().strip()
        if text == "max":
            continue
        # What files have in memory is given back when it is asked for.
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        kept = next((int(line[1]) for line in lines if line[0] == inactive), 0)
        return int(text) - int((group / used).read_text()) + kept
    return float("inf")
