"""Figures of a regression: one value a sample, in the target's own unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from runforge.metrics.bootstrap import Subset, collect, percentile_interval, resampled_weights
from runforge.metrics.figures import Figure, Figures, Scatter, non_finite_figure, non_finite_note
from runforge.metrics.rates import divide
from runforge.predictions import Predictions

ABOUT = {
    "r2": "share of the targets' variance that is explained; 0 is as good as their mean",
    "rmse": "root of the mean squared error, in the unit of the target",
    "mae": "mean absolute error, in the unit of the target",
    "mse": "mean squared error",
}

MAIN = tuple(ABOUT)


def regression_figures(predictions: Predictions, *, resamples: int, seed: int) -> Figures:
    """All figures, each with its 95% interval from `resamples` resamples.

    Samples with an output that is not finite count in `non_finite` and in nothing else. The same
    predictions and seed give the same numbers.
    """
    skipped = non_finite_figure(predictions.non_finite)
    notes = non_finite_note(predictions.non_finite, len(predictions.ids))
    finite = predictions.only_finite()
    if finite is None:
        reason = "no sample has a finite output"
        undefined = {name: _plain(name, None, reason) for name in ABOUT}
        return Figures({**undefined, "non_finite": skipped}, MAIN, notes=notes)
    scatter = Scatter(finite.ids, finite.targets.astype(np.float64), finite.predicted)
    metrics = _metrics(scatter, resamples, np.random.default_rng(seed))
    return Figures({**metrics, "non_finite": skipped}, MAIN, scatter=scatter, notes=notes)


def _metrics(scatter: Scatter, resamples: int, generator: np.random.Generator) -> dict[str, Figure]:
    values = _values(scatter)
    subset = Subset.of(len(scatter.actual), 1, resamples, generator)
    statistic = _weighted(scatter.actual[subset.rows], scatter.residuals[subset.rows])
    own = statistic(np.ones((1, len(subset.rows)), dtype=np.int32))
    drawn = collect(resampled_weights(len(subset.rows), resamples, generator), statistic)
    resampled = {n: subset.rescale(drawn[n], float(own[n][0]), values[n]) for n in MAIN}
    return {name: _figure(name, values[name], resampled[name]) for name in MAIN}


def _values(scatter: Scatter) -> dict[str, float]:
    """Every metric by name; nan where undefined."""
    predicted, actual = torch.from_numpy(scatter.predicted), torch.from_numpy(scatter.actual)
    varied = scatter.actual.min() < scatter.actual.max()
    # torchmetrics subtracts sums of squares: far from 0 their difference has few digits left.
    middle = actual.mean()
    return {
        "r2": float(r2_score(predicted - middle, actual - middle)) if varied else float("nan"),
        "rmse": float(mean_squared_error(predicted, actual, squared=False)),
        "mae": float(mean_absolute_error(predicted, actual)),
        "mse": float(mean_squared_error(predicted, actual)),
    }


def _figure(name: str, value: float, resampled: np.ndarray) -> Figure:
    if np.isnan(value):
        return _plain(name, None, "all targets are equal")
    interval = percentile_interval(resampled)
    level = interval.low == interval.high
    reason = "every resample gives this value: too few samples to tell more" if level else ""
    return replace(_plain(name, value, reason), low=interval.low, high=interval.high)


def _plain(name: str, value: float | None, reason: str) -> Figure:
    better: Literal["higher", "lower"] = "higher" if name == "r2" else "lower"
    return Figure(value, reason=reason, about=ABOUT[name], better=better)


def _weighted(
    actual: np.ndarray, residuals: np.ndarray
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The metrics for any weights of the samples, as sums over the samples."""
    # About the mean of all samples, so that squares of large targets do not cancel digits.
    moved = actual - actual.mean()
    columns = np.stack([residuals**2, np.abs(residuals), moved, moved**2], axis=1)
    return partial(_from_sums, columns)


def _from_sums(columns: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    as_float = weights.astype(np.float64)
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
