"""`history.csv`: the learning curves, one row for each time that metrics were logged."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runforge.errors import DataError

HISTORY = "history.csv"

_FIXED = ["epoch", "step"]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """The metrics of one moment of training."""

    epoch: int
    """From 0."""
    step: int
    """Optimiser steps done."""
    metrics: Mapping[str, float]
    """By name, such as `validation/loss`; only those logged at this moment."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over training, where it was logged."""

    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All that was logged in a training, in order."""

    rows: tuple[HistoryRow, ...]

    def names(self) -> tuple[str, ...]:
        """The metrics' names, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.metrics}))

    def series(self, name: str) -> Series:
        """One metric; empty where it was never logged."""
        rows = [row for row in self.rows if name in row.metrics]
        return Series(
            tuple(row.epoch for row in rows),
            tuple(row.step for row in rows),
            tuple(row.metrics[name] for row in rows),
        )

    def write(self, path: Path) -> None:
        """Columns `epoch, step`, then the metrics sorted; a cell is empty where not logged."""
        names = self.names()
        beside = path.with_name(f".{path.name}.partial")
        try:
            with beside.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([*_FIXED, *names])
                for row in self.rows:
                    cells = [repr(float(row.metrics[n])) if n in row.metrics else "" for n in names]
                    writer.writerow([row.epoch, row.step, *cells])
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> History:
        """Reads what `write` wrote; raises `DataError` where the file is not there or damaged."""
        if not path.is_file():
            raise DataError("there is no history", where=str(path), mend="train again")
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return cls(tuple(_rows(csv.reader(file))))
        except ValueError as error:
            raise DataError(
                f"no whole history ({error})", where=str(path), mend="train again"
            ) from error


def _rows(lines: Iterator[list[str]]) -> Iterator[HistoryRow]:
    header = next(lines, [])
    if header[: len(_FIXED)] != _FIXED:
        raise ValueError("its columns do not begin with epoch, step")
    names = header[len(_FIXED) :]
    for epoch, step, *cells in lines:
        if len(cells) != len(names):
            raise ValueError(f"a row of {len(cells) + 2} cells under {len(header)} columns")
        logged = zip(names, cells, strict=True)
        yield HistoryRow(int(epoch), int(step), {n: float(cell) for n, cell in logged if cell})
