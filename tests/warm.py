"""Trainings whose ranks are forked from one warm process, to be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import TCPStore

from runforge.job import Job
from tests.processes import WARM

CONTEXT = multiprocessing.get_context("forkserver")
LIMIT_S = 120.0


class Attempt:
    """All ranks of a training, working."""

    def __init__(self, job: Job, count: int, folder: Path) -> None:
        multiprocessing.set_forkserver_preload([*WARM, "runforge.worker"])
        folder.mkdir(parents=True, exist_ok=True)
        # As the agent's: where the ranks meet is no rank's own.
        self._store = TCPStore("localhost", 0, is_master=True, timeout=timedelta(seconds=60))
        places = [(job, rank, count, self._store.port, folder) for rank in range(count)]
        self.processes = [CONTEXT.Process(target=_train, args=place) for place in places]
        for process in self.processes:
            process.start()

    def wait(self) -> list[int | None]:
        """Their exit codes."""
        for process in self.processes:
            process.join(LIMIT_S)
        return [process.exitcode for process in self.processes]

    def kill(self) -> bool:
        """Kills them with all that they have started; whether they had still been at work."""
        at_work = False
        for process in self.processes:
            if process.exitcode is None:
                at_work = True
                try:
                    os.killpg(process.pid or 0, signal.SIGKILL)
                except ProcessLookupError:
                    process.kill()  # it has not yet got a session of its own
        self.wait()
        return at_work


def _train(job: Job, rank: int, count: int, port: int, folder: Path) -> None:
    os.setsid()
    torch.set_num_threads(1)
    if count > 1:
        _take_place(rank, count, port)
    log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    from runforge import fitting, ranks

    with ranks.joined(ranks.here(), 0, "cpu", 60.0):
        fitting.run(job)
    sys.exit(0)


def _take_place(rank: int, count: int, port: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(GROUP_RANK="0", GROUP_WORLD_SIZE="1", TORCHELASTIC_RUN_ID="tests")
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
