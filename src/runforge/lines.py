"""Files that grow at their end by whole lines: one process appends, another reads what is new.

A writer may be killed at any moment, so a last line without its end is no line yet.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from runforge.atomic import write_whole


def open_to_append(path: Path) -> TextIO:
    """Opens a file, made if needed, so that each line written is in it when `write` returns.

    What a killed writer left after the last line end is cut, so that the next line is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return path.open("a", encoding="utf-8", buffering=1)


class LineReader:
    """The reading end; it remembers how far it has read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes read, up to the end of a line."""

    def read(self, until: int | None = None) -> list[bytes]:
        """The whole lines appended since the last call, without their ends; `until`: no further.

        None while there is no file. A half-written last line is left for the next call.
        """
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            fresh = file.read(-1 if until is None else until - self.offset)
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.split(b"\n")[:-1]


class Mark:
    """How far a file has been dealt with, in bytes: kept in a file beside it (`….sent`)."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".sent")

    def read(self) -> int:
        """0 where nothing has been dealt with."""
        return int(self._path.read_text()) if self._path.exists() else 0

    def move(self, offset: int) -> None:
        """Moves the mark; who reads it sees the old one or the new one."""
        write_whole(self._path, str(offset))
