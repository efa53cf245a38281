"""Rows of the last preparation, kept so that of data that grew only what is new is decoded.

DVC deletes the prepared set before the stage that makes it runs. Its array of rows therefore has a
second name in a folder that DVC does not know: a hard link, made at once; it takes room of its own
only when DVC has put a copy in the set's place. Beside it lies what was seen of each row. Only the
last set is kept, so that it is never more than one. Both files are trusted only where their hashes
are right: a process that is killed, or two that write at once, leave what the next one throws away.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from runforge.arrays import open_rows
from runforge.atomic import write_whole
from runforge.checksums import file_hash

ROWS, INDEX = "inputs.npy", "index.json"


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What was decoded of one content."""

    row: np.ndarray
    remarks: Sequence[str]
    gist: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of each row of an array, in their order."""

    contents: list[str] = field(default_factory=list)
    """The identity of what it was decoded from."""
    remarks: list[Sequence[str]] = field(default_factory=list)
    gists: list[int | None] = field(default_factory=list)

    def add(self, content: str, remarks: Sequence[str], gist: int | None) -> None:
        """What was seen of the next row."""
        self.contents.append(content)
        self.remarks.append(remarks)
        self.gists.append(gist)

    def of(self, rows: Sequence[int]) -> Seen:
        """What was seen of some of the rows."""
        parts = (self.contents, self.remarks, self.gists)
        return Seen(*([part[row] for row in rows] for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows by the content that they were decoded from; empty where nothing is kept."""

    rows: np.ndarray | None = None
    seen: Seen = field(default_factory=Seen)
    numbers: Mapping[str, int] = field(default_factory=dict)
    damaged: bool = False

    def find(self, content: str) -> KeptRow | None:
        """None where that content was not decoded before."""
        number = self.numbers.get(content)
        if number is None or self.rows is None:
            return None
        return KeptRow(self.rows[number], self.seen.remarks[number], self.seen.gists[number])


@dataclass(frozen=True, slots=True)
class Keeper:
    """Where rows are kept, and the key that stands for how they are decoded."""

    folder: Path | None
    """None: nowhere."""
    key: str

    def open(self) -> KeptRows:
        """What was kept under this key."""
        if self.folder is None or not (self.folder / INDEX).is_file():
            return KeptRows()
        try:
            return _read(self.folder, self.key)
        except (OSError, ValueError):
            return KeptRows(damaged=True)

    def keep(self, rows: Path, rows_hash: str, seen: Seen) -> None:
        """Takes the place of what was kept; nothing is kept where the disk has no hard links."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / f".{ROWS}-{uuid.uuid4().hex[:8]}"
        try:
            os.link(rows, link)
        except OSError:
            return
        link.replace(self.folder / ROWS)
        text = json.dumps({"key": self.key, "rows": rows_hash, **asdict(seen)})
        write_whole(self.folder / INDEX, f"{_hash(text)}\n{text}")


def _read(folder: Path, key: str) -> KeptRows:
    """Raises OSError or ValueError where it is damaged."""
    expected, _, text = (folder / INDEX).read_text(encoding="utf-8").partition("\n")
    if _hash(text) != expected:
        raise ValueError(INDEX)
    index = json.loads(text)
    if index.pop("key") != key:
        return KeptRows()
    if file_hash(folder / ROWS) != index.pop("rows"):
        raise ValueError(ROWS)
    seen = Seen(**index)
    numbers = {content: number for number, content in enumerate(seen.contents)}
    return KeptRows(open_rows(folder / ROWS), seen, numbers)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
