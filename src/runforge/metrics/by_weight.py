"""Metrics for any weights of the samples, as resampling needs them; nothing here imports torch.

N samples, C classes, r weightings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from runforge.metrics.calibration import calibration_error, gaps
from runforge.metrics.ranking import Ranking
from runforge.metrics.rates import averages, divide

Weighted = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From weights, int32 [r, N], to metrics by name, float64 [r], nan where undefined."""


def of_answers(targets: np.ndarray, predicted: np.ndarray, classes: int) -> Weighted:
    """What follows from the confusion matrix of true and predicted classes, int64 [N]."""
    return partial(_of_cells, targets * classes + predicted, classes)


def of_probabilities(
    probabilities: np.ndarray, targets: np.ndarray, *, ranked: Sequence[int], smallest: float
) -> Weighted:
    """What depends on more than the confusion matrix, of probabilities [N, C].

    `ranked`: the classes that areas are averaged over; `smallest`: see `losses`.
    """
    rankings = [Ranking.of(probabilities[:, code], targets == code) for code in ranked]
    right = np.asarray(probabilities.argmax(axis=1) == targets, dtype=np.float64)
    columns = gaps(probabilities.max(axis=1), right)
    return partial(_of_probabilities, rankings, losses(probabilities, targets, smallest), columns)


def of_residuals(actual: np.ndarray, residuals: np.ndarray) -> Weighted:
    """The metrics of values, from true ones and what the predictions miss, float64 [N]."""
    # About the mean of all samples, so that squares of large targets do not cancel digits.
    moved = actual - actual.mean()
    columns = np.stack([residuals**2, np.abs(residuals), moved, moved**2], axis=1)
    return partial(_of_sums, columns)


def losses(probabilities: np.ndarray, targets: np.ndarray, smallest: float) -> np.ndarray:
    """−ln(probability of the true class), float64 [N].

    A probability nearer to 0 or 1 than `smallest` counts as this far.
    """
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return np.asarray(-np.log(np.clip(true, smallest, 1 - smallest)))


def ranked_classes(counts: np.ndarray) -> list[int]:
    """Classes that some samples are of and some are not; of two classes the second alone.

    `counts`: the confusion matrix, int64 [C, C], rows are the truth.
    """
    support = counts.sum(axis=1)
    candidates = [1] if len(counts) == 2 else range(len(counts))
    return [code for code in candidates if 0 < support[code] < support.sum()]


def _of_cells(cells: np.ndarray, classes: int, weights: np.ndarray) -> dict[str, np.ndarray]:
    counted = [np.bincount(cells, row, classes * classes) for row in weights]
    return averages(np.array(counted).reshape(len(weights), classes, classes))


def _of_probabilities(
    rankings: list[Ranking], losses: np.ndarray, columns: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    areas = [ranking.areas(weights) for ranking in rankings]
    as_float = weights.astype(np.float64)
    return {
        "roc_auc": _mean_of_defined([a.roc for a in areas], len(weights)),
        "average_precision": _mean_of_defined([a.average_precision for a in areas], len(weights)),
        "log_loss": as_float @ losses / as_float.sum(axis=1),
        "calibration_error": calibration_error(as_float, columns),
    }


def _mean_of_defined(parts: list[np.ndarray], size: int) -> np.ndarray:
    """Mean over the classes that a resample has samples of, float64 [r]."""
    stacked = np.array(parts).reshape(len(parts), size)
    return divide(np.nansum(stacked, axis=0), np.isfinite(stacked).sum(axis=0))


def _of_sums(columns: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    as_float = np.asarray(weights, np.float64)
    squared, absolute, moved, moved_squared = (as_float @ columns).T
    count = as_float.sum(axis=1)
    variation = moved_squared - moved**2 / count
    # Below the rounding of the sums a resample has one target only.
    varied = np.where(variation > 1e-12 * moved_squared, variation, 0.0)
    return {
        "r2": 1 - divide(squared, varied),
        "rmse": np.sqrt(squared / count),
        "mae": absolute / count,
        "mse": squared / count,
    }
