"""What a report says beside the figures: the data, the training, where it all comes from."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runforge.errors import DataError
from runforge.history import History
from runforge.sample import SPLITS
from runforge.schema import Schema

Table = tuple[tuple[str, str], ...]
"""Rows of a name and a text."""

LONG = 160
"""Letters from which on a text is folded away."""


@dataclass(frozen=True, slots=True)
class Background:
    """The rest of a run, as its files hold it."""

    run_id: str
    schema: Schema
    history: History
    lineage: Mapping[str, Any]
    configuration: Mapping[str, Any]
    quarantine: Path | None
    """`quarantine.csv`; None: what was refused is not known."""


@dataclass(frozen=True, slots=True)
class CountRow:
    """Samples of one class by split, in the order of the splits."""

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The data in numbers."""

    splits: tuple[str, ...]
    rows: tuple[CountRow, ...]
    totals: tuple[int, ...]
    notices: tuple[str, ...]
    """What a person was told of the data."""
    noticed: Table
    """What preparing noticed."""
    refused: Table
    """Where, and why."""


def data_summary(background: Background) -> DataSummary:
    """Counts by split and class, and what was refused; `DataError` for a damaged quarantine."""
    # The file that the counts come from is sorted by name; a person knows another order.
    counts = background.schema.split_counts
    splits = tuple(split for split in SPLITS if split in counts)
    names = background.schema.classes
    return DataSummary(
        splits=splits,
        rows=tuple(CountRow(n, tuple(counts[s].get(n, 0) for s in splits)) for n in names),
        totals=tuple(sum(counts[split].values()) for split in splits),
        notices=background.schema.notices,
        noticed=flattened(background.schema.quality),
        refused=_refused(background.quarantine),
    )


def flattened(values: Mapping[str, Any], prefix: str = "") -> Table:
    """Nested values as rows; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows.extend(flattened(value, f"{name} · "))
        elif value not in (None, "", [], ()):
            rows.append((name, _text(value)))
    return tuple(rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        parts = (" = ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in value)
        return ", ".join(parts)
    return str(value)


def _refused(path: Path | None) -> Table:
    if path is None:
        return ()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple((row["where"], row["reason"]) for row in csv.DictReader(file))
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        mend = "prepare again: `dvc repro prepare`"
        raise DataError(f"no whole quarantine ({error})", where=str(path), mend=mend) from error
