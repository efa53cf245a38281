"""A prepared set: manifest, packed arrays and schema, as `packing` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars

from runforge import places
from runforge.arrays import open_rows
from runforge.checksums import check_checksums
from runforge.errors import DataError
from runforge.parquet import read_parquet
from runforge.sample import SPLITS
from runforge.schema import FORMAT, Schema

SCHEMA, MANIFEST, QUARANTINE = "schema.json", "manifest.parquet", "quarantine.csv"
INPUTS, TARGETS = "inputs.npy", "targets.npy"

FILES = (SCHEMA, MANIFEST, QUARANTINE, INPUTS, TARGETS)

MEND = "run `dvc repro prepare`"
MEND_DAMAGE = "make it again: `dvc repro -f prepare`, or remove it where `runforge train` made it"


def check_whole(folder: Path) -> None:
    """Raises `DataError` that names a file that is not as it was written, to the last bit.

    Reads everything: 1.7 GB a second. Each driver does it once for each run, while its workers
    import torch; they only open the set. Nothing is remembered of it from run to run, because a
    disk that turns a bit over changes no time of the file.
    """
    _check_present(folder, FILES)
    check_checksums(folder, FILES, MEND_DAMAGE)


def _check_present(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"there is no {name}", where=str(folder), mend=MEND)


def find_set(project: Path, fingerprint: str) -> Path | None:
    """A prepared set of the project that holds those data; None where there is none any more.

    A damaged one is none.
    """
    for folder in (places.prepared(project), *sorted(places.sets(project).glob("[!.]*/"))):
        with suppress(OSError, ValueError):
            if Schema.read(folder / SCHEMA).fingerprint == fingerprint:
                return folder
    return None


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """N samples that can be used, in the order of their listing."""

    schema: Schema
    inputs: np.ndarray
    """[N, *packed_shape], memory-mapped, read-only."""
    targets: np.ndarray
    """[N], memory-mapped: int64 indices of classes, or float32 values."""
    ids: tuple[str, ...]
    where: tuple[str, ...]
    splits: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> PreparedSet:
        """Raises `DataError` where the folder is not there, incomplete or of another format."""
        _check_present(folder, (SCHEMA, MANIFEST, INPUTS, TARGETS))
        try:
            return cls._read(folder)
        except (ValueError, TypeError, KeyError, EOFError, polars.exceptions.PolarsError) as error:
            raise DataError(
                f"is no whole prepared set ({error})", where=str(folder), mend=MEND
            ) from error

    @classmethod
    def _read(cls, folder: Path) -> PreparedSet:
        schema = Schema.read(folder / SCHEMA)
        used = read_parquet(folder / MANIFEST).filter(polars.col("row").is_not_null())
        inputs, targets = open_rows(folder / INPUTS), open_rows(folder / TARGETS)
        if schema.format != FORMAT:
            raise ValueError(f"its format is {schema.format}, not {FORMAT}")
        if not len(inputs) == len(targets) == len(used):
            raise ValueError(f"{len(inputs)} inputs, {len(targets)} targets, {len(used)} entries")
        ids, where, splits = (tuple(used[name].to_list()) for name in ("id", "where", "split"))
        return cls(schema, inputs, targets, ids, where, splits)

    def rows(self, split: str) -> np.ndarray:
        """The rows of a split, int64, ascending."""
        if split not in SPLITS:
            raise ValueError(f"{split!r} is none of {SPLITS}")
        return np.flatnonzero(np.array(self.splits) == split).astype(np.int64)
