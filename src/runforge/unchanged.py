"""Inputs that stay as they are while they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runforge.errors import DataError

Snapshot = dict[str, tuple[int, int, int]]
"""By path: size in bytes, time of the last change in ns, and the file's number on its disk."""


def snapshot(folder: Path, besides: Path | None = None) -> Snapshot:
    """Every file under a folder, without reading any; what is under `besides` is left out."""
    found = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if besides is None or Path(here, name) != besides]
        for name in names:
            path = os.path.join(here, name)  # noqa: PTH118 - twice as fast over 100,000 files
            about = os.lstat(path)
            found[path] = (about.st_size, about.st_mtime_ns, about.st_ino)
    return found


@contextmanager
def unchanged(*folders: Path, besides: Path | None = None) -> Iterator[None]:
    """Raises `DataError` at the end of the block where a file was changed, added or removed in it.

    What came of the block may be made of both, the old and the new. `besides` is where the block
    itself writes.
    """
    before = {folder: snapshot(folder, besides) for folder in folders}
    yield
    for folder, files in before.items():
        after = snapshot(folder, besides)
        if files != after:
            paths = sorted(files.keys() | after.keys())
            odd = next(path for path in paths if files.get(path) != after.get(path))
            mend = "run it again when nothing writes there"
            raise DataError("it changed while it was being read", where=odd, mend=mend)
