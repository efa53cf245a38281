"""Processes that the faults happen to: forks, a tracking server, a training."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from runforge import places
from tests.conftest import Project, clean_environment

SHORT = ("machine=cpu", "evaluation.resamples=100", "trainer.log_every_steps=1")


def forked(act: Callable[[], None]) -> int:
    """Does something in a process of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - the border of a process
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended(child: int, within_s: float = math.inf) -> int:
    """Waits for a process, and kills it after `within_s` seconds; returns its exit code."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG if within_s < math.inf else 0)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    return ended(child)


class Server:
    """A real `mlflow server` on this machine, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.port}"
        self.database = folder / "server.db"
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                *("--port", str(self.port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{self.database}"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            cwd=self.folder,
            # Without MLflow's eight processes for jobs of evaluation, which nobody asks for here.
            env={**clean_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kills it with all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.address}/health", timeout=1).ok
        except requests.RequestException:
            return False


class Training:
    """`runforge train` that records on a server; what it says goes into files."""

    def __init__(self, project: Project, server: Server, epochs: int) -> None:
        self._project = project
        self._said = project.folder.parent / "said"
        with self._said.with_suffix(".out").open("wb") as out, self._said.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runforge", "train", *SHORT, f"trainer.max_epochs={epochs}"],
                cwd=project.folder,
                env={**clean_environment(), "MLFLOW_TRACKING_URI": server.address},
                stdout=out,
                stderr=err,
            )

    def await_entries(self, count: int) -> None:
        """Waits until the journal of the project's only run holds so many."""
        while self._process.poll() is None:
            journals = list(places.runs(self._project.folder).glob("*/journal.jsonl"))
            if journals and journals[0].read_bytes().count(b"\n") >= count:
                return
            time.sleep(0.02)
        raise AssertionError(self._said.read_text())

    def end(self) -> tuple[int, str, list[str]]:
        """Waits; returns the exit code, the run's id, and the lines on standard error."""
        code = self._process.wait(600)
        run_id = self._said.with_suffix(".out").read_text().strip()
        return code, run_id, self._said.read_text().splitlines()
