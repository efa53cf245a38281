"""What a machine has: which kind of device is used, and how many of them."""

from __future__ import annotations

import torch

from runforge import determinism, ranks
from runforge.errors import ConfigError
from runforge.settings import MachineSettings


def device_type(machine: MachineSettings) -> str:
    """`cuda` or `cpu`; raises `ConfigError` where a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if machine.accelerator == "gpu" and not available:
        raise ConfigError(
            "there is no GPU", where="machine.accelerator", mend="take `machine.accelerator=cpu`"
        )
    return "cuda" if available and machine.accelerator != "cpu" else "cpu"


def device(machine: MachineSettings) -> torch.device:
    """The device of this process; of several processes each has its own."""
    if device_type(machine) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", ranks.here().local_rank)


def named_device(name: str) -> torch.device:
    """The device of one process by its name on the command line: `auto`, `cpu` or `cuda`."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("there is no GPU", where="--device cuda", mend="take --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def device_count(machine: MachineSettings) -> int:
    """The devices of this machine that take part: every GPU, or one CPU, for `auto`.

    Raises `ConfigError` where more GPUs are asked for than there are. On the CPU a device is a
    process, and any number will run.
    """
    on_gpu = device_type(machine) == "cuda"
    there = torch.cuda.device_count() if on_gpu else 1
    if machine.devices == "auto":
        return there
    if on_gpu and machine.devices > there:
        what = f"{machine.devices} GPUs are asked for, and the machine has {there}"
        raise ConfigError(
            what, where="machine.devices", mend="take fewer, or `machine.devices=auto`"
        )
    return machine.devices


def told_of(machine: MachineSettings) -> dict[str, str]:
    """What only the process that trains knows of where it runs, as tags of the run."""
    kind = device_type(machine)
    return {
        "runforge.device": torch.cuda.get_device_name() if kind == "cuda" else kind,
        "runforge.processes": str(ranks.count()),
        "runforge.threads": str(torch.get_num_threads()),
        "runforge.determinism": determinism.described(),
    }
