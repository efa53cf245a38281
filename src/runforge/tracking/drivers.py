"""Which driver a run has, and the end of runs whose driver is gone.

A driver that was killed, or that died with its machine, can't end its run. Its tags say which
process it was (`origin`), so exactly that a number given to another one later is not taken for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from filelock import FileLock
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from runforge import places
from runforge.tracking.origin import BOOT, HOST, MACHINE, PID, STARTED
from runforge.tracking.unsent import Unsent
from runforge.tracking.writes import Write, metric_writes, perform

SIGNAL_FILE = "signal"
"""In a run's folder: the name of the signal that its driver was ending by."""


_PROC = Path("/proc")
"""Linux only."""


def driver_tags() -> dict[str, str]:
    """This process, as the driver of a run."""
    return {
        HOST: socket.gethostname(),
        PID: str(os.getpid()),
        STARTED: _started(os.getpid()) or "",
        BOOT: _boot(),
        MACHINE: _first_line(Path("/etc/machine-id")),
    }


def is_gone(tags: Mapping[str, str], *, local: bool) -> bool:
    """True where the driver that these tags name is certainly no more; it was on this host.

    `local`: the store is a file, so that another start of the system is of this machine. On a
    server another machine of the same name may record.
    """
    mine = driver_tags()
    if tags.get(BOOT) == mine[BOOT]:
        return _started(int(tags[PID])) != tags.get(STARTED)
    if tags.get(BOOT, "").partition(" ")[0] == mine[BOOT].partition(" ")[0]:
        return False  # in another container: its process numbers mean nothing here
    return local or (mine[MACHINE] != "" and tags.get(MACHINE) == mine[MACHINE])


def ownership(project: Path) -> FileLock:
    """Held while a run is taken over or closed, so that one process does not undo the other."""
    folder = places.runs(project)
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".ownership.lock")


def close_dead_runs(
    client: MlflowClient, project: Path, experiments: Sequence[str], *, local: bool
) -> list[str]:
    """Ends the runs of this host whose driver is gone, as FAILED, or KILLED where a signal came.

    Metrics that the driver had not sent yet are sent first. Returns the ids of the runs; each can
    be resumed. Runs of other hosts, and of drivers that live, stay as they are.
    """
    condition = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{socket.gethostname()}'"
    found = client.search_runs(list(experiments), condition, max_results=1000)
    return [run.info.run_id for run in found if _close(client, project, run, local=local)]


def _close(client: MlflowClient, project: Path, run: Run, *, local: bool) -> bool:
    if not is_gone(run.data.tags, local=local):
        return False
    run_id = run.info.run_id
    folder = places.run_folder(project, run_id)
    if (folder / "outbox").exists():
        return False  # its true end waits there
    with ownership(project):
        again = client.get_run(run_id)
        if again.info.status != "RUNNING" or again.data.tags != run.data.tags:
            return False  # somebody went on with it meanwhile
        for journal in sorted(folder.glob("*journal.jsonl")):
            _send_rest(client, run_id, Unsent(journal))
        perform(client, run_id, _end(folder, run.data.tags[PID]))
    return True


def _send_rest(client: MlflowClient, run_id: str, unsent: Unsent) -> None:
    for write in metric_writes(unsent.points()):
        perform(client, run_id, write)
    unsent.taken()


def _end(folder: Path, pid: str) -> Write:
    signal = _first_line(folder / SIGNAL_FILE)
    status = "KILLED" if signal else "FAILED"
    why = f"interrupted by {signal}: " if signal else ""
    cause = f"{why}its driver (pid {pid}) is gone; go on with the same command"
    return Write("end", {"status": status, "cause": cause, "time_ms": time.time_ns() // 1_000_000})


def _started(pid: int) -> str | None:
    """When a living process started; None where there is none of this number."""
    if _PROC.is_dir():
        # Counted from the system's start: clocks may be set while a driver lives.
        fields = _first_line(_PROC / str(pid) / "stat").rpartition(")")[2].split()
        return fields[19] if fields and fields[0] not in "ZX" else None
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    if not _PROC.is_dir():
        return ""
    boot = _first_line(_PROC / "sys/kernel/random/boot_id")
    return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"


def _first_line(path: Path) -> str:
    """Empty where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
