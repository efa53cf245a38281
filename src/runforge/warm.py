"""Workers that are forked from a process which has imported torch and Lightning once for all.

The ranks of a run share one, which serves restarts too, and so do the trials of a sweep. It
computes nothing, opens no store and touches no GPU, so that its forks may. Imports neither torch
nor Lightning itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from runforge.handover import STEP_MODULES, Order
from runforge.job import Step
from runforge.launch import Started, new_interpreter, quiet_environment
from runforge.process import PARENT
from runforge.signals import ENDING

WORKER = "runforge.worker"

RECORD, EXPORT = "runforge.tracking.model_record", "torch.export._trace"
"""What is imported when a training is done: worth having for many trainings."""


class WarmRank:
    """A rank, in the form in which torch's agent holds its subprocesses: `proc` and `close`."""

    def __init__(  # noqa: PLR0913 - what torch gives
        self,
        entrypoint: str,
        args: tuple[str, ...],
        env: dict[str, str],
        stdout: str | None,
        stderr: str | None,
        local_rank_id: int,
        numa_options: Any | None = None,
    ) -> None:
        self.proc = _Fork(args, {**os.environ, **env}, stdout, stderr)

    def close(self, death_sig: signal.Signals | None = None) -> None:
        """Sends a signal to the rank and to what it has started."""
        if self.proc.poll() is None:
            os.killpg(self.proc.pid, death_sig or signal.SIGTERM)


class _Fork:
    """A fork that works, in the form of `subprocess.Popen`."""

    def __init__(
        self,
        args: tuple[str, ...],
        environment: dict[str, str],
        stdout: str | None = None,
        stderr: str | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        given = (args, environment, stdout, stderr)
        self._process: ForkServerProcess = context.Process(target=_work, args=given)
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a rank", timeout or 0.0)
        return code

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def fork(module: str, folder: Path, environment: dict[str, str]) -> Started:
    """Starts a worker as a fork (`launch.Start`); an agent, and what joblib's run, afresh."""
    if module != WORKER or _warm_pid() is None:
        return new_interpreter(module, folder, environment)
    return _Fork((str(folder),), environment)


@contextmanager
def warmth() -> Iterator[None]:
    """Inside, there is a process to fork workers from; it imports from now on."""
    os.environ.update(quiet_environment())
    try:
        warm_up(("train", "evaluate"), RECORD, EXPORT)
        yield
    finally:
        cool_down()


def warm_up_ranks(order: Order) -> None:
    """Starts the process to fork ranks from."""
    devices = order.machine.devices
    # Read when torch is imported, which is before `auto` devices are counted.
    shared_by = devices if isinstance(devices, int) else 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_for_each(shared_by)))
    warm_up(order.steps)


def warm_up(steps: tuple[Step, ...], *more: str) -> None:
    """Starts the process to fork from, if it is not there; it imports while this one goes on."""
    modules = [WORKER, *(STEP_MODULES[step] for step in steps), *more]
    multiprocessing.set_forkserver_preload(modules)
    # It hears no signals: it would die of one before the forks that it has to reap.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores_for_each(processes: int) -> int:
    """The cores of this machine, shared out."""
    return max(1, (os.cpu_count() or 1) // processes)


def cool_down() -> None:
    """Ends the process to fork from, also in the midst of its imports."""
    pid = _warm_pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # or the next is not started


def _warm_pid() -> int | None:
    """The process to fork from, where this one has started it."""
    return getattr(forkserver._forkserver, "_forkserver_pid", None)


def _work(
    args: tuple[str, ...], environment: dict[str, str], stdout: str | None, stderr: str | None
) -> None:
    """What a fork does: takes a session, an environment and logs of its own, then works."""
    os.setsid()
    # The process that forks ends when nobody holds this any more: who started it alone is to.
    os.close(getattr(forkserver._forkserver, "_forkserver_alive_fd", -1))
    os.environ.clear()
    os.environ.update(environment, **{PARENT: str(os.getppid())})
    os.dup2(2, 1)  # results go to standard output; all that a worker says is progress
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        if path:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
    from runforge import worker

    sys.exit(worker.main(list(args)))
