"""`predictions.parquet`: one row for each evaluated sample, that every figure is computed from.

N samples, C classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars

from runforge.errors import DataError
from runforge.parquet import read_parquet

PROBABILITY = "probability_"
"""What the column of a class's probability begins with; the class's name follows, literally."""

SUM_TOLERANCE = 0.01
"""By how much probabilities may miss 1: bfloat16 rounds each by up to 0.2%."""

NO_CLASS = -1

BLOCK_NUMBERS = 1_000_000
"""Outputs that are looked at at once: as many as a processor's cache holds."""

_MEND = "evaluate again: `dvc repro evaluate`"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of N samples beside what is true; rows are in the order of `ids`.

    Raises `DataError` where there are none, where parts differ in length, where a target is no
    class, an id comes twice, or finite outputs of a class are no probabilities.
    """

    ids: np.ndarray
    """Sample ids, str [N]."""
    split: str
    targets: np.ndarray
    """int64 indices of classes [N], or float64 values [N] in the target's own unit."""
    values: np.ndarray
    """float32 or float64: a probability for each class [N, C], or the value [N, 1]."""
    classes: tuple[str, ...]
    """Class names in the order of the columns; empty where the target is a value."""
    finite: np.ndarray = field(init=False)
    """bool [N]: every output of the sample is a finite number."""

    def __post_init__(self) -> None:
        finite = _by_blocks(_finite, self.values) if self.values.ndim == 2 else np.array(())
        object.__setattr__(self, "finite", finite)
        problem = _problem(self)
        if problem:
            raise DataError(problem)

    @property
    def non_finite(self) -> int:
        """Samples with an output of nan or infinity: they have no prediction."""
        return int(np.count_nonzero(~self.finite))

    @property
    def predicted(self) -> np.ndarray:
        """int64 [N]: the most probable class, the first one of equals; `NO_CLASS`: not finite.

        For two classes this is the second one where its probability is above 0.5. For a value:
        float64 [N], nan where it is not finite.
        """
        finite = self.finite
        if not self.classes:
            return np.where(finite, self.values[:, 0].astype(np.float64), np.nan)
        return np.where(finite, _by_blocks(most_probable, self.values), NO_CLASS).astype(np.int64)

    def only_finite(self) -> Predictions | None:
        """The samples that have a prediction; None where no one has."""
        keep = self.finite
        if keep.all():
            return self
        if not keep.any():
            return None
        return Predictions(
            self.ids[keep], self.split, self.targets[keep], self.values[keep], self.classes
        )

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all; the same bytes for the same predictions."""
        frame = polars.DataFrame(
            [
                polars.Series("id", self.ids.tolist(), polars.String),
                polars.Series("split", [self.split] * len(self.ids), polars.String),
                *(self._class_columns() if self.classes else self._value_columns()),
            ]
        )
        # In the same folder as its target: a rename can't cross file systems.
        beside = path.with_name(f".{path.name}.partial")
        try:
            frame.write_parquet(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _class_columns(self) -> list[polars.Series]:
        names = [None if code == NO_CLASS else self.classes[code] for code in self.predicted]
        return [
            polars.Series("target", [self.classes[code] for code in self.targets], polars.String),
            polars.Series("predicted", names, polars.String),
            *(
                polars.Series(PROBABILITY + name, np.ascontiguousarray(column))
                for name, column in zip(self.classes, self.values.T, strict=True)
            ),
        ]

    def _value_columns(self) -> list[polars.Series]:
        predicted = polars.Series("predicted", self.predicted)
        return [
            polars.Series("target", self.targets.astype(np.float64)),
            predicted.fill_nan(None),
            polars.Series("value", np.ascontiguousarray(self.values[:, 0])),
        ]

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Reads what `write` wrote; raises `DataError` where the file is not there or damaged."""
        if not path.is_file():
            raise DataError("there are no predictions", where=str(path), mend=_MEND)
        try:
            return _from_frame(read_parquet(path))
        except (polars.exceptions.PolarsError, KeyError, ValueError, OSError) as error:
            text = f"no whole file of predictions ({error})"
            raise DataError(text, where=str(path), mend=_MEND) from error
        except DataError as error:
            raise DataError(error.what, where=str(path), mend=_MEND) from None


def most_probable(values: np.ndarray) -> np.ndarray:
    """int64 [B]: the class of the largest probability of [B, C], the first one of equals."""
    most: np.ndarray = values.argmax(axis=1)
    return most


def largest(values: np.ndarray) -> np.ndarray:
    """The largest output of each sample of [N, C]."""
    return _by_blocks(lambda block: block.max(axis=1), values)


def _by_blocks(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """A function of the rows of [N, C], block by block on all cores: what it makes of a row in
    between is never in memory for all of them.
    """
    size = max(1, BLOCK_NUMBERS // max(1, values.shape[1]))
    blocks = [values[start : start + size] for start in range(0, len(values), size)]
    if len(blocks) < 2:
        return function(values)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(function, blocks)))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(values).all(axis=1))


def _no_probabilities(values: np.ndarray) -> np.ndarray:
    """bool [n]: rows of [n, C] that do not sum to 1, or have a number below 0."""
    # Rows that are not finite have no prediction: they are counted, not refused.
    with np.errstate(invalid="ignore"):
        wrong = np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE
        wrong |= values.min(axis=1) < -SUM_TOLERANCE
    return np.asarray(wrong & _finite(values))


def _problem(predictions: Predictions) -> str | None:
    """Why predictions can't be used, in the order in which it matters; None where they can."""
    count, classes = len(predictions.ids), predictions.classes
    if count == 0:
        return "there is no sample to predict"
    if predictions.values.shape != (count, len(classes) or 1):
        return f"outputs of shape {predictions.values.shape} for {count} samples"
    if predictions.targets.shape != (count,):
        return f"{len(predictions.targets)} targets for {count} samples"
    if len(set(predictions.ids.tolist())) != count:
        return "an id comes twice"
    if len(set(classes)) != len(classes):
        return "a class comes twice"
    return _class_problem(predictions) if classes else _value_problem(predictions)


def _value_problem(predictions: Predictions) -> str | None:
    return None if np.isfinite(predictions.targets).all() else "a target is no finite number"


def _class_problem(predictions: Predictions) -> str | None:
    targets, values = predictions.targets, predictions.values
    outside = (targets < 0) | (targets >= len(predictions.classes))
    if outside.any():
        first = int(outside.argmax())
        return (
            f"the target of {predictions.ids[first]} is class {targets[first]},"
            f" but there are {len(predictions.classes)} classes"
        )
    wrong = _by_blocks(_no_probabilities, values)
    if wrong.any():
        return f"the outputs of {predictions.ids[int(wrong.argmax())]} are no probabilities"
    return None


def _from_frame(frame: polars.DataFrame) -> Predictions:
    missing = {"id", "split", "target", "predicted"} - set(frame.columns)
    if missing:
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    splits = frame["split"].unique().to_list()
    if len(splits) > 1:
        raise ValueError(f"it mixes the splits {', '.join(sorted(map(str, splits)))}")
    columns = [name for name in frame.columns if name.startswith(PROBABILITY)]
    classes = tuple(name.removeprefix(PROBABILITY) for name in columns)
    numbers = columns or ["value", "target"]
    text = [name for name in numbers if not frame[name].dtype.is_numeric()]
    if text:
        raise ValueError(f"{text[0]} holds no numbers")
    return Predictions(
        ids=frame["id"].to_numpy().astype(str),
        split=str(splits[0]) if splits else "",
        targets=_codes(frame["target"], classes) if classes else frame["target"].to_numpy(),
        values=frame.select(columns or ["value"]).to_numpy(),
        classes=classes,
    )


def _codes(targets: polars.Series, classes: tuple[str, ...]) -> np.ndarray:
    index = {name: code for code, name in enumerate(classes)}
    unknown = sorted({str(name) for name in targets.to_list() if name not in index})
    if unknown:
        raise ValueError(f"the target {unknown[0]!r} is no class of it")
    return np.array([index[name] for name in targets.to_list()], dtype=np.int64)
