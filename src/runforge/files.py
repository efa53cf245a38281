"""Files of raw data under a folder: found in a fixed order, and read within limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from runforge import dvc_cache
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
        try:
            about = self.path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise Refused("it is no regular file")
            if about.st_size > LARGEST_BYTES:
                limit = f"more than {LARGEST_BYTES} of one file"
                raise Refused(f"it has {about.st_size} bytes, {limit}")
            return self.path.read_bytes()
        except FileNotFoundError:
            raise Refused("there is no such file") from None
        except OSError as error:
            raise Refused(f"it can't be read: {error.strerror or error}") from error
        except ValueError as error:  # a name on standard input may hold a NUL
            raise Refused(f"its name can't be used: {error}") from error


def entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, in natural order, without junk; only the names are held."""
    for name in _names(folder):
        yield folder / name


def _names(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir() if not _is_junk(path.name))
    return sorted(names, key=natural_key)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.casefold() in JUNK


def walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Found]:
    """Every file under `folder`; `above` are the resolved folders on the way, the root first."""
    reason = link_problem(folder, above)
    if reason is not None:
        yield Found(folder, reason)
    else:
        yield from under(folder, above)


def under(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Found]:
    """As `walk`, for a folder that may itself be any link: a root that the user names."""
    if len(above) > DEEPEST:
        yield Found(folder, f"it lies in more than {DEEPEST} folders")
        return
    inside = (*above, folder.resolve())
    # The listing itself tells which are plain files: of a million, none is asked for.
    with os.scandir(folder) as listing:
        odd = {entry.name for entry in listing if entry.is_symlink() or entry.is_dir()}
    for name in _names(folder):
        path = folder / name
        if name in odd and path.is_dir():
            yield from walk(path, inside)
        else:
            yield Found(path, link_problem(path, inside) if name in odd else None)


def link_problem(path: Path, above: tuple[Path, ...]) -> str | None:
    """Why a link is not followed; None where it is none, or a good one."""
    if not path.is_symlink():
        return None
    target = Path(os.path.realpath(path))
    if leaves(target, above[0]):
        return "a link that leaves the data folder"
    if not target.exists():
        return "a link to nothing"
    if target in above:
        return "a link that leads back to its own folder"
    # Folders that link to folders that link again can stand for billions of files.
    behind = any(inner not in (outer, outer / inner.name) for outer, inner in pairwise(above))
    return "a link behind a link" if behind and target.is_dir() else None


def leaves(path: Path, root: Path) -> bool:
    """Whether a path leads out of a folder: not where a link leads into the cache of DVC's."""
    # Not `resolve`, which raises where a link leads back to itself.
    target, top = Path(os.path.realpath(path)), root.resolve()
    return not target.is_relative_to(top) and not dvc_cache.holds(target, top)


def text(name: str) -> str:
    """A file name as text that can be stored, where its bytes are no UTF-8 too."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
