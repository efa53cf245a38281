"""Predictions of raw samples as files: CSV, JSON lines, Parquet, and what was refused beside them.

B samples, C columns of predictions. Written block by block; a file takes its place at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import polars

from runforge.errors import DataError
from runforge.predictions import PROBABILITY, most_probable
from runforge.spreadsheet import Sheet, inert

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
"""By the end of a file's name."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictedBlock:
    """What a model says of B samples."""

    where: Sequence[str]
    """Path, or path and row."""
    ids: Sequence[str]
    """Hash of each sample's content, as in a manifest and in `predictions.parquet`."""
    values: np.ndarray
    """float32 [B, C], finite."""
    classes: tuple[str, ...]
    """Empty where the target is a value."""
    remarks: Sequence[str] | None = None
    """What is unlike training in each, empty where nothing is; None: nothing can be said."""

    def frame(self) -> polars.DataFrame:
        """A row for each sample; probabilities and values stay float32."""
        named: dict[str, Any] = {"where": self.where, "id": self.ids}
        last: dict[str, Any] = {}
        if self.remarks is not None:
            texts = [remark or None for remark in self.remarks]
            last["remark"] = polars.Series(texts, dtype=polars.String)
        if not self.classes:
            value = np.ascontiguousarray(self.values[:, 0])
            return polars.DataFrame({**named, "predicted": value, "value": value, **last})
        predicted = [self.classes[code] for code in most_probable(self.values)]
        columns = zip(self.classes, self.values.T, strict=True)
        shown = {PROBABILITY + name: np.ascontiguousarray(one) for name, one in columns}
        return polars.DataFrame({**named, "predicted": predicted, **shown, **last})


def shortest(values: np.ndarray) -> np.ndarray:
    """The numbers whose text is the shortest that stands for the same float32."""
    return values.astype(np.float32).astype("U32").astype(np.float64)


class Writer(Protocol):
    """Takes blocks in their order."""

    def write(self, block: PredictedBlock) -> None:
        """Adds a block."""
        ...


class _Csv:
    """Safe to open in a spreadsheet; numbers in the shortest text of the same float32."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._begun = file, False

    def write(self, block: PredictedBlock) -> None:
        frame = block.frame()
        texts = [
            polars.Series(column.name, [cell and inert(cell) for cell in column], polars.String)
            for column in frame.select(polars.col(polars.String))
        ]
        safe = frame.with_columns(texts).rename({name: inert(name) for name in frame.columns})
        self._file.write(safe.write_csv(include_header=not self._begun))
        self._begun = True


class _JsonLines:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, block: PredictedBlock) -> None:
        self._file.write(block.frame().write_ndjson())


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, block: PredictedBlock) -> None:
        from pyarrow import parquet

        table = block.frame().to_arrow()
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def format_of(output: Path | None, told: str | None) -> str:
    """The format as told, else by the end of the name; raises `DataError` where neither says."""
    found = told or (FORMATS.get(output.suffix.lower()) if output else "csv")
    if found is None:
        mend = f"add --format, or take a name that ends in {', '.join(FORMATS)}"
        raise DataError("its name says no format", where=str(output), mend=mend)
    if found == "parquet" and output is None:
        raise DataError("Parquet is not written to standard output", mend="add --output FILE")
    return found


@contextmanager
def predictions_file(output: Path | None, form: str) -> Iterator[Writer]:
    """Writes `output`, whole or not at all; None: to standard output, as it comes."""
    if form == "parquet":
        assert output is not None
        with _beside(output) as path:
            writer = _Parquet(path)
            try:
                yield writer
            finally:
                writer.close()
        return
    with _text_file(output) as file:
        yield _Csv(file) if form == "csv" else _JsonLines(file)


class Quarantine:
    """What could not be used: `where,reason`, beside the output, else on standard error."""

    def __init__(self, file: TextIO | None) -> None:
        self.count, self.first = 0, ""
        self._sheet = None if file is None else Sheet(file)
        if self._sheet is not None:
            self._sheet.write(("where", "reason"))

    def add(self, where: str, reason: str) -> None:
        """Counts one, and writes it."""
        if self._sheet is None:
            print(f"refused: {inert(where)}: {inert(reason)}", file=sys.stderr)
        else:
            self._sheet.write((where, reason))
        self.first = self.first or f"{where}: {reason}"
        self.count += 1


@contextmanager
def quarantine_file(output: Path | None) -> Iterator[Quarantine]:
    """`<output>.quarantine.csv`, where anything is refused; an older one is removed."""
    if output is None:
        yield Quarantine(None)
        return
    path = quarantine_path(output)
    with _text_file(path) as file:
        yield (quarantine := Quarantine(file))
    if not quarantine.count:
        path.unlink()


def quarantine_path(output: Path) -> Path:
    """Beside the output."""
    return output.with_name(f"{output.name}.quarantine.csv")


@contextmanager
def _text_file(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    # The file is closed before it takes its place.
    with _beside(output) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A file that takes the place of `output` when the block ends well."""
    path = output.with_name(f".{output.name}.partial")
    try:
        yield path
        path.replace(output)
    finally:
        path.unlink(missing_ok=True)
