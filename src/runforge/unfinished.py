"""Runs that were stopped before their end: the same command goes on with them.

Each run's folder says what the run is (`identity`) and is held by its driver (`lock`, which the
kernel lets go when the driver dies). Both, and the checkpoints, go when the run is done.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from runforge import places
from runforge.checkpoint_files import any_kept
from runforge.errors import StoreError
from runforge.job import is_done
from runforge.tracking.run import Run
from runforge.tracking.store import Store

IDENTITY, LOCK, CHECKPOINTS = "identity", "lock", "checkpoints"


@contextmanager
def going_on(
    project: Path, store: Store, identity: str, *, fresh: bool, start: Callable[[], Run]
) -> Iterator[Run]:
    """The run of that identity that was stopped before its end, running again; else a new one.

    While inside, no other command goes on with it. `fresh`: those that were stopped are given up,
    and it is a new one.
    """
    if fresh:
        _give_up(project, identity)
    held = _taken(project, store, identity)
    if held is None:
        run = start()
        lock = _lock(places.run_folder(project, run.run_id))
        (places.run_folder(project, run.run_id) / IDENTITY).write_text(identity, encoding="utf-8")
    else:
        run, lock = held
        print(_told(project, run.run_id), file=sys.stderr)
    try:
        yield run
        _clear(places.run_folder(project, run.run_id))
    finally:
        lock.release()


def _told(project: Path, run_id: str) -> str:
    """What comes of a run that was stopped: how far it had come may be lost with it."""
    folder = places.run_folder(project, run_id)
    if any_kept(folder / CHECKPOINTS) or is_done(folder, "train"):
        return f"going on with run {run_id} (fresh=true starts over)"
    return f"run {run_id} was stopped before its first checkpoint: it begins anew"


def _taken(project: Path, store: Store, identity: str) -> tuple[Run, FileLock] | None:
    """The run started last whose driver is gone and that the store still has."""
    for folder in _folders(project, identity):
        try:
            lock = _lock(folder)
        except Timeout:
            continue
        try:
            return Run.resume(store, folder.name), lock
        except StoreError:  # deleted, or of another store
            lock.release()
    return None


def _give_up(project: Path, identity: str) -> None:
    for folder in _folders(project, identity):
        try:
            lock = _lock(folder)
        except Timeout:
            continue
        _clear(folder)
        lock.release()


def _folders(project: Path, identity: str) -> list[Path]:
    """The folders of runs of that identity, the newest first."""
    named = places.run_folder(project, "x").parent.glob(f"*/{IDENTITY}")
    fitting = (path for path in named if path.read_text(encoding="utf-8") == identity)
    return [p.parent for p in sorted(fitting, key=lambda p: p.stat().st_mtime, reverse=True)]


def _lock(folder: Path) -> FileLock:
    """Holds a run's folder; raises `Timeout` where a living driver does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    lock.acquire(timeout=0)
    return lock


def _clear(folder: Path) -> None:
    (folder / IDENTITY).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
