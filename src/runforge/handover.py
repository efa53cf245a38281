"""What passes between a driver and the processes that it starts, in a folder of their own.

`order.json` (what to start), `job` (the path of the job, once there is one), `results/` (how each
worker ended), `logs/` (what workers other than the first say), `result.json` (how the agent ended).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from runforge.errors import ConfigError
from runforge.job import Job, Step
from runforge.process import end_without_parent
from runforge.settings import MachineSettings, Settings

ATTEMPT = "RUNFORGE_ATTEMPT"
"""The variable that tells a worker how often its group was started before."""

POLL_S = 0.02

STEP_MODULES: dict[Step, str] = {
    "choose": "runforge.choosing",
    "size": "runforge.sizing",
    "train": "runforge.fitting",
    "evaluate": "runforge.evaluating",
}
"""The module of each step: evaluating needs nothing of training."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be started on this node."""

    machine: MachineSettings
    steps: tuple[Step, ...]
    batch_size: int
    node_rank: int = 0
    """0: the node that records and writes; see `node_rank`."""

    @property
    def needs_agent(self) -> bool:
        """More than one process, or a process that must act as one of a group."""
        machine = self.machine
        return machine.devices != 1 or machine.nodes > 1 or machine.strategy == "fsdp"

    def write(self, folder: Path) -> None:
        """Writes `order.json`."""
        values = {**asdict(self), "machine": self.machine.model_dump()}
        (folder / "order.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Order:
        """Reads what `write` wrote."""
        values = json.loads((folder / "order.json").read_text(encoding="utf-8"))
        machine = MachineSettings.model_validate(values["machine"])
        return cls(**{**values, "machine": machine, "steps": tuple(values["steps"])})


def on_this_node(settings: Settings) -> Settings:
    """The same, for a step that needs no other node."""
    alone = settings.machine.model_copy(update={"nodes": 1, "rendezvous": None})
    return settings.model_copy(update={"machine": alone})


def node_rank(machine: MachineSettings) -> int:
    """This machine's number among the nodes: `NODE_RANK`, or SLURM's own; 0 where there is one.

    Raises `ConfigError` where several nodes take part and nothing says which one this is.
    """
    if machine.nodes == 1:
        return 0
    given = os.environ.get("NODE_RANK") or os.environ.get("SLURM_NODEID")
    if given is None or not given.isdigit() or int(given) >= machine.nodes:
        what = f"NODE_RANK is {given or 'not set'}, and machine.nodes={machine.nodes}"
        mend = f"set NODE_RANK to 0 on the node that records, 1…{machine.nodes - 1} on the others"
        raise ConfigError(what, where="environment", mend=mend)
    return int(given)


def result_file(folder: Path, rank: int, attempt: int) -> Path:
    """Where a worker says how it ended."""
    return folder / "results" / f"{attempt}-{rank}.json"


def await_job(folder: Path) -> Job:
    """Waits until the driver has handed over a job."""
    path = folder / "job"
    while not path.is_symlink():
        end_without_parent()
        time.sleep(POLL_S)
    return Job.read(path)
