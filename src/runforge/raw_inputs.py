"""What a user gives to a model: files, folders, tables and standard input, as samples.

They are listed as they are needed: a folder of a million pictures takes the memory of its names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from runforge import targets
from runforge.errors import DataError
from runforge.files import Found, text, under
from runforge.sample import Modality, Rows, Sample, TableReader
from runforge.schema import Schema

STDIN = "-"
TABLES = (".csv", ".tsv", ".txt", ".parquet")

STDIN_LIMIT_BYTES = 2**30 + 1
"""One more than a table may have, so that a longer one is refused and not cut."""

_PLAIN = {
    "_target_": "runforge.sources.table.Table",
    **{"file": "", "target": "", "split_column": None, "missing_values": [""], "ignore": []},
    **{"columns": None, "separator": ",", "quote": '"'},
}
"""How a table is read for a model whose schema does not say."""


def check_paths(paths: Sequence[str]) -> None:
    """Raises `DataError` for a path that is not there, before anything heavy is done."""
    for path in paths:
        if path != STDIN and not Path(path).exists():
            raise DataError("there is no such file or folder", where=path, mend="check the path")
    if list(paths).count(STDIN) > 1:
        raise DataError("standard input is named twice", where=STDIN, mend="name it once")


def samples(
    schema: Schema, modality: Modality, paths: Sequence[str], *, counted: bool = False
) -> Rows:
    """The samples that a model of this schema is given, in the order of the paths.

    Pictures: a file, every file in a folder (natural order, system files skipped, links that leave
    it refused), or a list of paths, one a line, on standard input. Tables: a CSV or Parquet file,
    every one in a folder, or CSV on standard input. `counted`: files are counted first, for a bar.
    """
    columns = modality.columns(schema.layout)
    if columns is None:
        every = chain.from_iterable(_files(path) for path in paths)
        countable = counted and STDIN not in paths
        return Rows(every, sum(1 for p in paths for _ in _listed(p)) if countable else None)
    source: TableReader = targets.build(schema.source or _PLAIN)
    if not hasattr(source, "unlabelled"):
        what = f"the model's source, {type(source).__name__}, reads no tables but its own"
        raise DataError(what, where="schema.source", mend="give its class the method `unlabelled`")
    tables = [table for path in paths for table in _tables(path)]
    known = columns, tuple(schema.layout.get("left_out", ()))
    if len(tables) == 1:
        return _rows(source, known, tables[0])
    # One table at a time: each is held whole.
    rows = (_rows(source, known, table).samples for table in tables)
    return Rows(chain.from_iterable(rows), None)


def _files(path: str) -> Iterator[Sample]:
    for found in _listed(path):
        yield Sample(text(str(found.path)), "", None, found.read)


def _listed(path: str) -> Iterable[Found]:
    if path == STDIN:
        names = (line.rstrip("\r\n") for line in sys.stdin)
        return (Found(Path(name)) for name in names if name)
    folder = Path(path)
    return under(folder) if folder.is_dir() else (Found(folder),)


def _tables(path: str) -> list[str]:
    if path == STDIN or not Path(path).is_dir():
        return [path]
    found = [str(f.path) for f in _listed(path) if f.path.suffix.lower() in TABLES]
    if not found:
        mend = f"name a file that ends in {', '.join(TABLES)}"
        raise DataError("there is no table in it", where=path, mend=mend)
    return found


def _rows(source: TableReader, known: tuple[Sequence[str], Sequence[str]], path: str) -> Rows:
    """A table's rows; `where` begins with the path as it was given.

    `known` are the columns that training learned from, and others.
    """
    if path != STDIN:
        return _named(source.unlabelled(Path(path), *known), path)
    # A table is checked as a whole before its first row is used, so it is put on disk first.
    with TemporaryDirectory() as folder:
        copy = Path(folder, "standard input")
        copy.write_bytes(sys.stdin.buffer.read(STDIN_LIMIT_BYTES))
        return _named(source.unlabelled(copy, *known), STDIN)


def _named(rows: Rows, path: str) -> Rows:
    shown = text(path)
    named = (
        replace(sample, where=f"{shown}#{number}")
        for number, sample in enumerate(rows.samples, start=1)
    )
    return Rows(named, rows.count)
