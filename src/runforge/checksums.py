"""`checksums.txt`: the SHA-256 of each file of a folder, as `sha256sum -c` reads it too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from runforge.errors import DataError

CHECKSUMS = "checksums.txt"


def write_checksums(folder: Path, names: Sequence[str], known: Mapping[str, str]) -> None:
    """Of the files as they lie there now; `known` are hashes that were taken already."""
    hashes = {name: known.get(name) or file_hash(folder / name) for name in names}
    lines = (f"{value}  {name}\n" for name, value in hashes.items())
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def check_checksums(folder: Path, names: Sequence[str], mend: str) -> None:
    """Raises `DataError` that names the first file that is not as it was written."""
    path = folder / CHECKSUMS
    for name in (*names, CHECKSUMS):
        if not (folder / name).is_file():
            raise DataError(f"there is no {name}", where=str(folder), mend=mend)
    told = path.read_bytes().split(b"\n")
    wanted = {name: f"{file_hash(folder / name)}  {name}".encode() for name in names}
    for name, line in wanted.items():
        if line not in told:
            what = f"it is not as it was written (by {CHECKSUMS})"
            raise DataError(what, where=str(folder / name), mend=mend)


def file_hash(path: Path) -> str:
    """SHA-256 in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
