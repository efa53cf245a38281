"""Full disks, and disks that are others: what is there stays, and the same command goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.arrived import what_arrived
from benchmarks.faults.mishaps import (
    EPOCHS,
    SHORT,
    Happening,
    Row,
    goes_on,
    is_at_work,
    newest_run,
    told,
    train,
)
from runforge.checkpoint_files import newest_whole
from tests.conftest import Project
from tests.jobs import digits_project
from tests.trees import everything_below

SMALL_DISK_MB = 64
AWAY = ("RUNNING", "FINISHED", "FAILED")
"""Of a run whose store lies on the full disk, the next command says that it has ended."""


def rows(quick: bool) -> Iterator[Row]:
    """Needs file systems of its own, and so root; all of it takes too long for a quick look."""
    if quick:
        return
    with tempfile.TemporaryDirectory() as name:
        yield from _other_file_system(digits_project(Path(name)))
    with tempfile.TemporaryDirectory() as name, _small_disk(Path(name) / "disk") as disk:
        yield from _full_disk(digits_project(disk), disk / "filler")
    with tempfile.TemporaryDirectory() as name, _small_disk(Path(name) / "disk") as disk:
        yield from _full_disk_of_the_store(digits_project(Path(name)), disk)


def _other_file_system(project: Project) -> Iterator[Row]:
    """Killed while `TMPDIR` is on another file system, ten times."""
    good = 0
    for _ in range(10):
        train(project, *SHORT, EPOCHS, "fresh=true", TMPDIR="/dev/shm", meanwhile=_kill(project))
        good += _has_good_checkpoint(project)
    yield "killed, TMPDIR on another file system", f"{good} of 10 checkpoints load", good == 10


def _full_disk(project: Project, filler: Path) -> Iterator[Row]:
    """Of a project with all that it has: full at a start, while it prepares, at a checkpoint."""
    train(project, *SHORT, EPOCHS, meanwhile=_kill(project))
    _fill(filler)
    done = train(project, *SHORT, EPOCHS)
    yield _told_with_checkpoint("a full disk after a kill", project, done)
    filler.unlink()
    project.runforge("sync")  # says that the run has ended, or preparing is not come to
    shutil.rmtree(project.folder / "out" / "sets")
    _fill(filler)
    done = train(project, *SHORT, EPOCHS)
    yield _told_with_checkpoint("a full disk while preparing", project, done)
    filler.unlink()
    yield goes_on("after a full disk while preparing", project, (*SHORT, EPOCHS))
    other = (*SHORT, EPOCHS, "seed=1")
    done = train(project, *other, meanwhile=_filling(project, filler))
    yield _told_with_checkpoint("a full disk while training", project, done)
    filler.unlink()
    yield goes_on("after a full disk while training", project, other)


def _full_disk_of_the_store(project: Project, disk: Path) -> Iterator[Row]:
    """Only the store's; what the run writes lies on another."""
    database, filler = disk / "mlflow.db", disk / "filler"
    address = f"sqlite:///{database}"
    fill = _filling(project, filler)
    done = train(project, *SHORT, EPOCHS, meanwhile=fill, MLFLOW_TRACKING_URI=address)
    said = [line for line in done.stderr.splitlines() if line.startswith("runforge: ")]
    found = f"exit {done.returncode}, {len(said)} line that the rest waits for `runforge sync`"
    fine = done.returncode == 0 and len(said) == 1 and "runforge sync" in said[0]
    quiet = "Traceback" not in done.stderr
    yield "the store's disk full in mid-training", found, fine and quiet
    filler.unlink()
    synced = project.runforge("sync", "--json", MLFLOW_TRACKING_URI=address)
    run_id, delivered = newest_run(project).name, json.loads(synced.stdout)
    yield from what_arrived(project, database, address, run_id, delivered)


def _told_with_checkpoint(
    what: str, project: Project, done: subprocess.CompletedProcess[str]
) -> Row:
    """As `told`; and the checkpoint of before is as it was."""
    what, found, fine = told(what, project, done, "make room", AWAY)
    good = _has_good_checkpoint(project)
    kept = "the last checkpoint loads" if good else "NO CHECKPOINT LOADS"
    return what, f"{found}; {kept}", fine and good


def _has_good_checkpoint(project: Project) -> bool:
    return newest_whole(newest_run(project) / "checkpoints") is not None


def _kill(project: Project) -> Happening:
    """Kills the command with all that it has started, a few checkpoints on."""

    def kill(process: subprocess.Popen[str]) -> bool:
        if not any((newest_run(project) / "checkpoints").glob("last-000002*")):
            return False
        for one in everything_below(process.pid):
            one.kill()
        return True

    return kill


def _filling(project: Project, filler: Path) -> Happening:
    """Fills the disk up when the newest run has a checkpoint."""

    def fill(process: subprocess.Popen[str]) -> bool:
        checkpoints = (newest_run(project) / "checkpoints").glob("last-*")
        if not is_at_work(project) or not any(checkpoints):
            return False
        _fill(filler)
        return True

    return fill


def _fill(filler: Path) -> None:
    """Leaves nothing free."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    options = f"size={SMALL_DISK_MB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
