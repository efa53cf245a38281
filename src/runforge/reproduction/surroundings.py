"""What a run found on its machine, held against what is there now."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runforge import environment
from runforge.reproduction.recorded import Recorded

DEVICE, PROCESSES, THREADS = "runforge.device", "runforge.processes", "runforge.threads"
"""The tags of what only a run's workers know."""

_FACTS = {"python": "Python", "platform": "system", "cpu": "CPU", "cpu_count": "cores"}


@dataclass(frozen=True, slots=True)
class Machine:
    """The configuration's node `machine` for making a run again, and what could not be kept."""

    node: dict[str, Any]
    differences: tuple[str, ...]


def differences(recorded: Recorded, requirements: tuple[str, ...] | None = None) -> list[str]:
    """What is another now, as `name was → is`, packages first; none where all is the same.

    `requirements`: those to hold the recorded ones against; None: what is installed.
    """
    now = requirements or tuple(environment.requirements().split())
    was, found = _pins(recorded.requirements), _pins(now)
    names = sorted({*was, *found}, key=str.lower)
    told = [_change(n, was.get(n), found.get(n)) for n in names if was.get(n) != found.get(n)]
    here: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": environment.cpu(),
        "cpu_count": os.cpu_count() or 1,
    }
    lineage = recorded.lineage.lineage
    for key, name in _FACTS.items():
        if lineage.get(key) != here[key]:
            told.append(_change(name, lineage.get(key), here[key]))
    return told


def worker_differences(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Of the tags of two runs: device, processes and threads that are not the same."""
    names = (DEVICE, PROCESSES, THREADS, "runforge.determinism")
    pairs = ((name.partition(".")[2], was.get(name), now.get(name)) for name in names)
    return [_change(*pair) for pair in pairs if pair[1] and pair[1] != pair[2]]


def machine(recorded: Recorded) -> Machine:
    """As many processes and threads as the run had, on one node, on its kind of device.

    Where the machine lacks them: as many GPUs as there are, or as many processes on the CPU.
    """
    node, tags = dict(recorded.configuration["machine"]), recorded.run.tags
    if PROCESSES not in tags:
        return Machine(node, ())
    count, gpus = int(tags[PROCESSES]), len(environment.gpus())
    on_gpu, told = tags.get(DEVICE, "cpu") != "cpu", []
    if on_gpu and not gpus:
        told.append(f"device {tags[DEVICE]} → cpu: there is no GPU")
    elif on_gpu and gpus < count:
        told.append(f"GPUs {count} → {gpus}")
        count = gpus
    if node["nodes"] > 1:
        told.append(f"nodes {node['nodes']} → 1")
    return Machine(
        {
            **node,
            "accelerator": "gpu" if on_gpu and gpus else "cpu",
            "devices": count,
            "nodes": 1,
            "rendezvous": None,
            "threads": int(tags[THREADS]) if THREADS in tags else node["threads"],
        },
        tuple(told),
    )


def _pins(requirements: tuple[str, ...]) -> dict[str, str]:
    return dict(pin.split("==", 1) for pin in requirements if "==" in pin)


def _change(name: str, was: Any, now: Any) -> str:
    return f"{name} {was or 'absent'} → {now or 'absent'}"
