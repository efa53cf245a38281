"""Files of raw data under a folder: found in a fixed order, and read within limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from runforge.errors import Refused
from runforge.ordering import natural_key

JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What operating systems leave behind; names that start with a dot are junk too."""

DEEPEST = 100
"""Folders in one another; far more than anybody lays out, far fewer than Python can descend."""

LARGEST_BYTES = 256 * 2**20
"""Of one file: it is read as a whole, by several threads at once. 50 million pixels fit."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a folder that is not entered; `refused` says why it can't be used."""

    path: Path
    refused: str | None = None

    def read(self) -> bytes:
        """The whole content; raises `Refused`."""
        if self.refused is not None:
            raise Refused(self.refused)
        if not self.path.is_file():
            raise Refused(
                "it is no regular file" if self.path.exists() else "there is no such file"
            )
        try:
            size_bytes = self.path.stat().st_size
            if size_bytes > LARGEST_BYTES:
                limit = f"more than {LARGEST_BYTES} of one file"
                raise Refused(f"it has {size_bytes} bytes, {limit}")
            return self.path.read_bytes()
        except OSError as error:
            raise Refused(f"it can't be read: {error.strerror or error}") from error


def entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, in natural order, without junk; only the names are held."""
    names = (path.name for path in folder.iterdir() if not _is_junk(path.name))
    for name in sorted(names, key=natural_key):
        yield folder / name


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.casefold() in JUNK


def walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Found]:
    """Every file under `folder`; `above` are the resolved folders on the way, the root first."""
    reason = link_problem(folder, above)
    if reason is not None:
        yield Found(folder, reason)
        return
    if len(above) > DEEPEST:
        yield Found(folder, f"it lies in more than {DEEPEST} folders")
        return
    inside = (*above, folder.resolve())
    for path in entries(folder):
        if path.is_dir():
            yield from walk(path, inside)
        else:
            yield Found(path, link_problem(path, inside))


def link_problem(path: Path, above: tuple[Path, ...]) -> str | None:
    """Why a link is not followed; None where it is none, or a good one."""
    if not path.is_symlink():
        return None
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(above[0]):
        return "a link that leaves the data folder"
    if not target.exists():
        return "a link to nothing"
    if target in above:
        return "a link that leads back to its own folder"
    # Folders that link to folders that link again can stand for billions of files.
    behind = any(inner not in (outer, outer / inner.name) for outer, inner in pairwise(above))
    return "a link behind a link" if behind and target.is_dir() else None


def text(name: str) -> str:
    """A file name as text that can be stored, where its bytes are no UTF-8 too."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
