"""Ranks that are forked from a process which has imported torch and Lightning once for all of them.

That process serves restarts too. It computes nothing, opens no store and touches no GPU, so that
its forks may. Imports neither torch nor Lightning itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from typing import Any

from runforge.handover import STEP_MODULES, Order
from runforge.process import PARENT
from runforge.signals import ENDING


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
        given = (args, {**os.environ, **env}, stdout, stderr)
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_run_rank, args=given)
        process.start()
        self.proc = _Popen(process)

    def close(self, death_sig: signal.Signals | None = None) -> None:
        """Sends a signal to the rank and to what it has started."""
        if self.proc.poll() is None:
            os.killpg(self.proc.pid, death_sig or signal.SIGTERM)


class _Popen:
    """The part of `subprocess.Popen` that torch's agent uses."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process, self.pid = process, int(process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a rank", timeout or 0.0)
        return code


def warm_up(order: Order) -> None:
    """Starts the process to fork from; it imports while this one goes on."""
    devices = order.machine.devices
    # Read when torch is imported, which is before `auto` devices are counted.
    shared_by = devices if isinstance(devices, int) else 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_for_each(shared_by)))
    modules = ["runforge.worker", *(STEP_MODULES[step] for step in order.steps)]
    multiprocessing.set_forkserver_preload(modules)
    # It hears no signals: it would die of one before the ranks that it has to reap.
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
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run_rank(
    args: tuple[str, ...], environment: dict[str, str], stdout: str | None, stderr: str | None
) -> None:
    """What a fork does: takes a session, an environment and logs of its own, then works."""
    os.setsid()
    # The process that forks ends when nobody holds this any more: it is the agent's alone to hold.
    os.close(getattr(forkserver._forkserver, "_forkserver_alive_fd", -1))
    os.environ.clear()
    os.environ.update(environment, **{PARENT: str(os.getppid())})
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        if path:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
    from runforge import worker

    sys.exit(worker.main(list(args)))
