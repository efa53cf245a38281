"""Packed samples to try a model on: real ones where there are any.

N samples, at most `MOST`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from runforge import raw_inputs
from runforge.errors import DataError
from runforge.prepared import PreparedSet, find_set
from runforge.reading import Reader
from runforge.sample import Modality
from runforge.schema import Schema

MOST = 256


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Packed samples, and where they are from."""

    rows: np.ndarray
    """[N, *packed_shape]."""
    origin: str


def examples(
    schema: Schema, modality: Modality, paths: Sequence[str], project: Path | None
) -> Examples:
    """Of the files given; else of the prepared set that the model was trained on; else made up."""
    if paths:
        return _of_files(schema, modality, paths)
    found = None if project is None else find_set(project, schema.fingerprint)
    if found is None:
        return Examples(made_rows(schema), "made from the schema, as no real ones are at hand")
    data = PreparedSet.open(found)
    test = data.rows("test")
    chosen = (test if len(test) else np.arange(len(data.inputs)))[:MOST]
    told = f"{len(chosen)} real ones of the {'test split' if len(test) else 'prepared set'}"
    return Examples(np.array(data.inputs[chosen]), f"{told} in {found}")


def _of_files(schema: Schema, modality: Modality, paths: Sequence[str]) -> Examples:
    given = raw_inputs.samples(schema, modality, paths)
    reader = Reader(modality, schema.layout, lambda label: None, workers=1, remarked=False)
    stream = reader.stream(given.samples, given.count, progress=False, title="samples")
    rows = (decoded.row for _, decoded in stream if decoded.row is not None)
    chosen = list(islice(rows, MOST))
    if not chosen:
        mend = "name files that `runforge predict` reads"
        raise DataError("none of them can be decoded", where="--samples", mend=mend)
    return Examples(np.stack(chosen), f"{len(chosen)} real ones of {', '.join(paths)}")


def typical_row(schema: Schema) -> np.ndarray:
    """One packed sample: a grey picture; numbers at the mean of training, the first category."""
    shape, kind = schema.packed_shape, np.dtype(schema.packed_dtype)
    if kind == np.uint8:
        return np.full(shape, 128, kind)
    row = np.zeros(shape, kind)
    of = schema.statistics
    for column, number, mean in zip(of["column"], of["number"], of["mean"], strict=True):
        if number:
            row[int(column)] = mean
    return row


def made_rows(schema: Schema, count: int = 64) -> np.ndarray:
    """Rows that are packed as the schema says, always the same: pixels at random; numbers round the
    mean of training, a tenth of them missing; categories, unknown ones too."""
    draw = np.random.default_rng(0)
    shape, kind = (count, *schema.packed_shape), np.dtype(schema.packed_dtype)
    if kind == np.uint8:
        return draw.integers(0, 256, shape, dtype=np.uint8)
    rows = draw.standard_normal(shape).astype(kind)
    of = {name: np.array(values) for name, values in schema.statistics.items()}
    columns = of.get("column", np.zeros(0)).astype(int)
    for place, column in enumerate(columns):
        if of["number"][place]:
            rows[:, column] = rows[:, column] * of["std"][place] + of["mean"][place]
        elif of["category"][place]:
            codes = of["code"][(columns == column) & (of["category"] > 0)]
            rows[:, column] = draw.choice(np.append(codes, -1), count)
    rows[draw.random(shape) < 0.1] = np.nan
    return rows
