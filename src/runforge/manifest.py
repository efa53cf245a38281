"""`manifest.parquet`, one row for each raw sample, and `quarantine.csv`, the refused ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars

from runforge.parquet import read_parquet
from runforge.spreadsheet import write_csv

COLUMNS = {
    "id": polars.String,
    "where": polars.String,
    "label": polars.String,
    "split": polars.String,
    "row": polars.Int64,
    "refused": polars.String,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One raw sample."""

    id: str | None
    """Hash of its content, with `-2`, `-3`, … where an earlier one is the same; None: not read."""
    where: str
    label: str
    split: str | None
    """None where it is refused."""
    row: int | None
    """Its row in the packed arrays, from 0; None where it is refused."""
    refused: str | None
    """The reason; None where it is used."""


def write_manifest(entries: Sequence[Entry], path: Path) -> None:
    """The same bytes for the same entries."""
    columns = {name: [getattr(entry, name) for entry in entries] for name in COLUMNS}
    polars.DataFrame(columns, schema=COLUMNS).write_parquet(path)


def read_manifest(path: Path) -> list[Entry]:
    """The inverse of `write_manifest`."""
    frame = read_parquet(path)
    return [Entry(**row) for row in frame.select(list(COLUMNS)).iter_rows(named=True)]


def read_places(path: Path, ids: Collection[str]) -> dict[str, str]:
    """Where each of the samples `ids` comes from; one that is not listed is left out."""
    frame = read_parquet(path).select("id", "where").filter(polars.col("id").is_in(list(ids)))
    return dict(frame.iter_rows())


def write_quarantine(entries: Sequence[Entry], path: Path) -> None:
    """`where,reason` of what was refused, safe to open in a spreadsheet."""
    rows = [(entry.where, entry.refused) for entry in entries if entry.refused is not None]
    write_csv(path, ("where", "reason"), rows)
