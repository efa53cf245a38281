"""Several models measured on the same resamples of the samples that they have in common.

N samples, C classes, R resamples, r of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runforge.metrics import by_weight
from runforge.metrics.balance import imbalanced
from runforge.metrics.bootstrap import Subset, resampled_weights
from runforge.metrics.common import Common
from runforge.metrics.names import MAIN_OF_CLASSES, MAIN_OF_VALUES
from runforge.predictions import Predictions

RESAMPLES = 2000

MOST_WORK = 40_000_000
"""Samples × classes × resamples that are done in full: about a second. See `Subset`."""

OF_COUNTS = ("accuracy", "balanced_accuracy", "f1_macro")
"""Metrics that need no probabilities."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One model on the common samples."""

    right: np.ndarray | None
    """bool [N]; None where the target is a value."""
    targets: np.ndarray | None
    """int64 [N]: the class that each sample is of; None where the target is a value."""
    count: int
    """N."""
    values: dict[str, float]
    """nan where undefined."""
    resampled: dict[str, np.ndarray]
    """float64 [R]; the same resamples for every model."""


def names_of(common: Common) -> tuple[str, ...]:
    """The metrics that can be compared, the main one first."""
    model = common.predictions[0]
    if not model.classes:
        return MAIN_OF_VALUES
    names = MAIN_OF_CLASSES if common.same_classes else OF_COUNTS
    if not imbalanced(np.bincount(model.targets)):
        return names
    return ("balanced_accuracy", *(name for name in names if name != "balanced_accuracy"))


def measured(common: Common, resamples: int, generator: np.random.Generator) -> list[Measured]:
    """Every model, of samples that are common to all; there is at least one."""
    count, columns = common.predictions[0].values.shape
    work = columns if common.same_classes else 1
    subset = Subset.of(count, work, resamples, generator, most_work=MOST_WORK)
    chunks = list(resampled_weights(len(subset.rows), resamples, generator))
    return [_of(model, common.same_classes, subset, chunks) for model in common.predictions]


def confusion_counts(model: Predictions) -> np.ndarray:
    """int64 [C, C], rows are the truth; every output is finite."""
    count = len(model.classes)
    cells = np.bincount(model.targets * count + model.predicted, minlength=count * count)
    return np.asarray(cells.reshape(count, count), dtype=np.int64)


def _of(
    model: Predictions, same_classes: bool, subset: Subset, chunks: Sequence[np.ndarray]
) -> Measured:
    every = np.arange(subset.count)
    values = _applied(_statistics(model, every, same_classes), _once(every))
    statistics = _statistics(model, subset.rows, same_classes)
    own = _applied(statistics, _once(subset.rows))
    parts = [_applied(statistics, chunk) for chunk in chunks]
    numbers = {name: float(value[0]) for name, value in values.items()}
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in numbers}
    return Measured(
        right=model.predicted == model.targets if model.classes else None,
        targets=model.targets if model.classes else None,
        count=len(model.ids),
        values=numbers,
        resampled={n: subset.rescale(drawn[n], float(own[n][0]), numbers[n]) for n in drawn},
    )


def _once(rows: np.ndarray) -> np.ndarray:
    return np.ones((1, len(rows)), dtype=np.int32)


def _applied(
    statistics: Sequence[by_weight.Weighted], weights: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: found for one in statistics for name, found in one(weights).items()}


def _statistics(
    model: Predictions, rows: np.ndarray, same_classes: bool
) -> list[by_weight.Weighted]:
    targets, predicted = model.targets[rows], model.predicted[rows]
    if not model.classes:
        actual = targets.astype(np.float64)
        return [by_weight.of_residuals(actual, actual - predicted)]
    of_answers = by_weight.of_answers(targets, predicted, len(model.classes))
    if not same_classes:
        return [of_answers]
    of_probabilities = by_weight.of_probabilities(
        np.clip(model.values[rows].astype(np.float64), 0.0, 1.0),
        targets,
        ranked=by_weight.ranked_classes(confusion_counts(model)),
        smallest=float(np.finfo(model.values.dtype).eps),
    )
    return [of_answers, of_probabilities]
