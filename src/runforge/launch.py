"""How a driver starts the processes that do the work, hands them their job, and ends them.

They start before there is a job, so that their imports (seconds of torch and Lightning) overlap
with the driver's own. One device: one worker. More, or sharded weights: an agent, which starts a
worker for each device. What passes between them lies in a folder: see `handover`. Imports neither
torch nor MLflow.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from runforge import signals
from runforge.handover import Order, node_rank, result_file
from runforge.job import Job, Result, Step
from runforge.process import PARENT, ended_by
from runforge.settings import MachineSettings, Settings

STOP_MARGIN_S = 1.0
"""Whoever ends others waits so much longer for them than they may take themselves."""

FOLDER = "runforge-"
"""How the folder in the system's temporary folder begins; the driver's number follows."""

CHECK_S = 0.5

SPINS = "10000"
"""How often a thread looks before it sleeps, about 0.1 ms; libgomp's default is 30 times as long.

A small network on free cores trains twice as fast as with threads that sleep at once, and beside
a busy process two to three times as fast as with the default: decision 0019.
"""


def quiet_environment() -> dict[str, str]:
    """Variables that are read when torch is imported; what the user has set is left alone."""
    # torch warns on standard error of what is chosen on purpose, and tells of each trace.
    chosen = {"TORCH_CPP_LOG_LEVEL": "ERROR", "KINETO_LOG_LEVEL": "99"}
    if "OMP_WAIT_POLICY" not in os.environ:
        chosen["GOMP_SPINCOUNT"] = SPINS
    return {**chosen, **os.environ}


class Started(Protocol):
    """A process, in the form of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; raises `subprocess.TimeoutExpired`."""
        ...

    def terminate(self) -> None:
        """Tells it to stop."""
        ...


Start = Callable[[str, Path, dict[str, str]], Started]
"""Starts a module of runforge's on a folder, in that environment and a session of its own."""


def new_interpreter(module: str, folder: Path, environment: dict[str, str]) -> Started:
    """Starts a module in a Python of its own."""
    # Results go to standard output; all that a worker says is progress. In a session of its
    # own, so that a signal to the group (Ctrl-C) comes once, to the driver, who passes it on.
    return subprocess.Popen(
        [sys.executable, "-m", module, str(folder)],
        stdout=sys.stderr.fileno(),
        env=environment,
        start_new_session=True,
    )


class Launched:
    """Processes that wait for their job."""

    def __init__(self, order: Order, start: Start = new_interpreter) -> None:
        self.order = order
        _clear_what_was_left()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        order.write(self.folder)
        self._agent = order.needs_agent
        module = "runforge.node" if self._agent else "runforge.worker"
        self._process = start(module, self.folder, _environment(order.machine))

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
def launched(
    settings: Settings, *steps: Step, start: Start = new_interpreter
) -> Iterator[Launched]:
    """Starts the processes for a run; whatever happens inside, none is left afterwards.

    Raises `ConfigError` where it is not said which node this is.
    """
    machine = settings.machine
    order = Order(machine, steps, settings.data.batch_size, node_rank(machine))
    started = Launched(order, start)
    try:
        yield started
    finally:
        started.end()
        shutil.rmtree(started.folder, ignore_errors=True)


def _environment(machine: MachineSettings) -> dict[str, str]:
    """Threads are set before torch is imported: its pools read the environment once."""
    environment = {**quiet_environment(), PARENT: str(os.getpid())}
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
