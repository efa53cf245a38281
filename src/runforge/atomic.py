"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a file; a process that is killed meanwhile leaves what was there before."""
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well.

    Where the block raises, nothing is left and what was at `folder` stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder as its target: a rename can't cross file systems.
    temporary = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_what_was_left(folder: Path) -> None:
    """Removes what `new_folder` left beside `folder` when its process was killed.

    Only where no other process can be making it.
    """
    for left in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _replace(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = temporary.with_name(temporary.name + "-old")
    folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old)
