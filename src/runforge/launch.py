"""How a driver starts the processes that do the work, hands them their job, and ends them.

They start before there is a job, so that their imports (seconds of torch and Lightning) overlap
with the driver's own. One device: one worker. More, or sharded weights: an agent, which starts a
worker for each device. Imports neither torch nor MLflow.

What passes between the processes lies in a folder of its own while they run:
`order.json` (what to start), `job` (the path of the job, once there is one), `results/` (how each
worker ended), `logs/` (what workers other than the first say), `result.json` (how the agent ended).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from runforge import signals
from runforge.errors import ConfigError
from runforge.job import Job, Result, Step
from runforge.settings import MachineSettings, Settings

ATTEMPT = "RUNFORGE_ATTEMPT"
"""The variable that tells a worker how often its group was started before."""

PARENT = "RUNFORGE_PARENT"
"""The variable that tells a process which one it must not outlive."""

STOP_MARGIN_S = 1.0
"""Whoever ends others waits so much longer for them than they may take themselves."""

FOLDER = "runforge-"
"""How the folder in the system's temporary folder begins; the driver's number follows."""

POLL_S = 0.02
CHECK_S = 0.5
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


STEP_MODULES = {"train": "runforge.fitting", "evaluate": "runforge.evaluating"}
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


class Launched:
    """Processes that wait for their job."""

    def __init__(self, order: Order) -> None:
        self.order = order
        _clear_what_was_left()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        order.write(self.folder)
        self._agent = order.needs_agent
        module = "runforge.node" if self._agent else "runforge.worker"
        # Results go to standard output; all that a worker says is progress. In a session of its
        # own, so that a signal to the group (Ctrl-C) comes once, to the driver, who passes it on.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.folder)],
            stdout=sys.stderr.fileno(),
            env=_environment(order.machine),
            start_new_session=True,
        )

    def do(self, job: Job) -> Result:
        """Hands over the job and waits until it is done or has failed."""
        job.write()
        # A link is there whole or not at all.
        (self.folder / "job").symlink_to(job.file)
        try:
            code = self._wait()
        finally:
            self.end()
            self._keep_logs(Path(job.run_folder))
        path = self.folder / "result.json" if self._agent else result_file(self.folder, 0, 0)
        result = Result.read(path)
        return _lost(code) if result is None or result.exit_code != code else result

    def end(self) -> None:
        """Ends the processes: a clean stop where they reach one in time, else by force."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        with signals.hurried_by(self._kill):
            try:
                self._process.wait(self.order.machine.stop_s + 3 * STOP_MARGIN_S)
            except subprocess.TimeoutExpired:
                self._kill()
                self._process.wait()

    def _wait(self) -> int:
        while True:
            try:
                return self._process.wait(CHECK_S)
            except subprocess.TimeoutExpired:
                signals.check()

    def _kill(self) -> None:
        """Kills the process and all below it: one that is suspended hears nothing else."""
        import psutil

        first = psutil.Process(self._process.pid)
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _keep_logs(self, run_folder: Path) -> None:
        """What a worker said is worth keeping only where it said something."""
        for log in (self.folder / "logs").rglob("*.log"):
            if log.stat().st_size:
                attempt, rank = log.parent.parent.name, log.parent.name
                target = run_folder / "logs" / f"{attempt}-local-rank-{rank}-{log.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log, target)


@contextmanager
def launched(settings: Settings, *steps: Step) -> Iterator[Launched]:
    """Starts the processes for a run; whatever happens inside, none is left afterwards.

    Raises `ConfigError` where it is not said which node this is.
    """
    machine = settings.machine
    started = Launched(Order(machine, steps, settings.data.batch_size, node_rank(machine)))
    try:
        yield started
    finally:
        started.end()
        shutil.rmtree(started.folder, ignore_errors=True)


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
        _end_without_parent()
        time.sleep(POLL_S)
    return Job.read(path)


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ends this process when the one that started it is gone; on Linux the kernel sees to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    _end_without_parent()  # it may have gone before the kernel was asked


def name_process(name: str) -> None:
    """The name that `ps -c` and `top` show, of 15 letters at most (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def _end_without_parent() -> None:
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit(128 + signal.SIGTERM)


def _environment(machine: MachineSettings) -> dict[str, str]:
    """Threads are set before torch is imported: its pools read the environment once."""
    # Threads that spin while they wait lose whole time slices as soon as anything else runs: with
    # one busy process beside it, a small network trained 2.7 times as slowly as with waiting ones.
    # torch warns on standard error of what is chosen on purpose.
    quiet = {"OMP_WAIT_POLICY": "passive", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    environment = {**quiet, **os.environ, PARENT: str(os.getpid())}
    if machine.threads is not None:
        environment["OMP_NUM_THREADS"] = str(machine.threads)
    return environment


def _clear_what_was_left() -> None:
    """Removes the folders of drivers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _lost(code: int) -> Result:
    """The process ended without a word."""
    if code < 0:
        return Result(1 if not _told(code) else 128 - code, f"the worker was {ended_by(code)}")
    return Result(code or 1, f"the worker ended without a result (exit code {code})")


def _told(code: int) -> bool:
    return -code in (signal.SIGTERM, signal.SIGINT)


def ended_by(code: int) -> str:
    """`ended by SIGKILL (out of memory?)`, from a negative exit code."""
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{hint}"
