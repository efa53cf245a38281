"""Processes of a project, for tests and benchmarks that end them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil

from tests.conftest import clean_environment


def start_in(
    folder: Path,
    *command: str,
    out: int | IO[str] = subprocess.DEVNULL,
    err: int | IO[str] = subprocess.DEVNULL,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    """A command as a user of the project would start it, in a session of its own.

    So a signal to its group reaches nobody else. `before` is called in the new process.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**clean_environment(), **environment},
        stdout=out,
        stderr=err,
        text=True,
        preexec_fn=before,
        start_new_session=True,
    )


def everything_below(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, as long as they are there."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def left_in(folder: Path, within_s: float = 10.0) -> list[str]:
    """Names of the processes that work in a folder even after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while (found := _working_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _working_in(folder: Path) -> list[str]:
    every = psutil.process_iter(["name", "cwd", "status"])
    return [
        p.info["name"]
        for p in every
        if p.info["cwd"] == str(folder) and p.info["status"] != psutil.STATUS_ZOMBIE
    ]
