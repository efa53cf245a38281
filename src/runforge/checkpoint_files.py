"""The files of a training's checkpoints: each whole or not there, and known to be undamaged.

A checkpoint is written beside its name, flushed, and only then renamed; its name carries the
checksum of its content. `last-EPOCH-BATCH-BEST-CHECKSUM` is what training goes on from, with the
epoch whose weights were the best by then (`none`: none kept); `best-EPOCH-CHECKSUM` holds those.
One file, or with sharded weights a folder with a part from each rank.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from runforge.errors import TrainingError

LAST, BEST, PARTIAL, DAMAGED = "last-", "best-", "partial-", "damaged-"
KEPT = 2
"""How many checkpoints to go on from are kept: the older one for when the newest is damaged."""

NO_EPOCH = "none"
BLOCK_BYTES = 1 << 20


class CheckpointFiles:
    """Writes checkpoints one at a time, beside the training, and clears away what is too old."""

    def __init__(self, folder: Path, journal: Path) -> None:
        self.folder, self._journal = folder, journal
        self._writer = ThreadPoolExecutor(1, "runforge-checkpoints")
        self._writing: Future[None] | None = None

    def partial(self, name: str) -> Path:
        """Where to write what is to become `name`; nothing lies there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{PARTIAL}{name}"
        _remove(path)
        return path

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Has `write` write to the path that it is given, in another thread, and keeps the file.

        Waits while an earlier one is being written. Raises `TrainingError` where that failed.
        """
        self.finish()
        self._writing = self._writer.submit(lambda: self._write(name, write))

    def finish(self) -> None:
        """Returns when all is on disk; raises `TrainingError` where it could not be written."""
        try:
            if self._writing is None:
                return
            # What a signal raises meanwhile, such as a lost loading process, is not the writer's.
            wait([self._writing])
            error = self._writing.exception()
            if isinstance(error, OSError | RuntimeError):
                raise cannot_write(self.folder, error) from error
            if error is not None:
                raise error
        finally:
            self._writing = None

    def keep(self, path: Path, name: str) -> None:
        """Makes what was written to `path` the checkpoint `name`, and clears older ones away."""
        _flush(path)
        if self._journal.exists():
            _flush(self._journal)  # the metrics before a checkpoint must not be lost where it isn't
        path.rename(self.folder / f"{name}-{checksum(path)}")
        _flush(self.folder)
        self._clear_away()

    def best(self, epoch: int) -> Path:
        """The weights of an epoch that were kept; raises `TrainingError` where they are damaged."""
        path = find_best(self.folder, str(epoch))
        if path is None or not is_whole(path):
            raise TrainingError(
                f"{self.folder}: the best weights, of epoch {epoch}, are damaged or gone; "
                "train again with fresh=true"
            )
        return path

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        path = self.partial(name)
        try:
            write(path)
            self.keep(path, name)
        except BaseException:
            _remove(path)
            raise

    def _clear_away(self) -> None:
        """Best weights stay while a checkpoint that stays may yet hand them on."""
        lasts = _newest_first(self.folder)
        bests = sorted(self.folder.glob(f"{BEST}*"))
        needed = {_fields(path)[2] for path in lasts[:KEPT]}
        old = [path for path in bests[:-1] if path.name.split("-")[1] not in needed]
        for path in [*lasts[KEPT:], *old]:
            _remove(path)


def last_name(epoch: int, step: int, best_epoch: int) -> str:
    """The name, without checksum, of what to go on from before a step of an epoch."""
    best = f"{best_epoch:06d}" if best_epoch >= 0 else NO_EPOCH
    return f"{LAST}{epoch:06d}-{step:08d}-{best}"


def best_name(epoch: int) -> str:
    """The name, without checksum, of the weights of an epoch."""
    return f"{BEST}{epoch:06d}"


def any_kept(folder: Path) -> bool:
    """Whether there is a checkpoint to go on from, be it damaged."""
    return bool(_newest_first(folder))


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint to go on from that is undamaged, with its best weights; None: none.

    What is damaged is renamed, and what a killed writer left is removed.
    """
    for path in folder.glob(f"{PARTIAL}*"):
        _remove(path)
    found = _newest_first(folder)
    for path in found:
        best = _fields(path)[2]
        needed = [path] if best == NO_EPOCH else [path, find_best(folder, best)]
        if all(p is not None and _whole_or_put_aside(p) for p in needed):
            return path
    if found:
        print("train: no checkpoint is undamaged: training begins anew", file=sys.stderr)
    return None


def find_best(folder: Path, epoch: str) -> Path | None:
    """The file of an epoch's weights, damaged or not."""
    return next(folder.glob(f"{BEST}{epoch.zfill(6)}-*"), None)


def is_whole(path: Path) -> bool:
    """Whether the content is the one that was written."""
    return path.name.rpartition("-")[2] == checksum(path)


def checksum(path: Path) -> str:
    """64 bits of the SHA-256 of a file, or of all files of a folder and their names, as hex."""
    digest = hashlib.sha256()
    for part in _files(path):
        digest.update(str(part.relative_to(path)).encode())
        with part.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def cannot_write(folder: Path, error: Exception) -> TrainingError:
    """What a full or broken disk is called: the checkpoints before are as they were."""
    free_mb = shutil.disk_usage(folder).free // 2**20
    told = f"{folder}: a checkpoint could not be written: {error} ({free_mb} MB free)"
    return TrainingError(f"{told}; make room and start again by the same command")


def _whole_or_put_aside(path: Path) -> bool:
    if is_whole(path):
        return True
    print(f"train: {path} is damaged; going back to the one before", file=sys.stderr)
    path.rename(path.with_name(f"{DAMAGED}{path.name}"))
    return False


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{LAST}*"), reverse=True)


def _fields(path: Path) -> list[str]:
    """EPOCH, BATCH, BEST, CHECKSUM of the name of a checkpoint to go on from."""
    return path.name.removeprefix(LAST).split("-")


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (part for part in sorted(path.rglob("*")) if part.is_file())
    else:
        yield path


def _flush(path: Path) -> None:
    """Has a file, or a folder and all in it, on disk."""
    for part in (path, *path.rglob("*")) if path.is_dir() else (path,):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
