"""Figures of a regression: one value a sample, in the target's own unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from runforge.metrics.bootstrap import Subset, collect, percentile_interval, resampled_weights
from runforge.metrics.by_weight import of_residuals
from runforge.metrics.figures import Figure, Figures, Scatter, non_finite_figure, non_finite_note
from runforge.metrics.names import ABOUT_VALUES, LOWER, MAIN_OF_VALUES
from runforge.predictions import Predictions

MAIN, ABOUT = MAIN_OF_VALUES, ABOUT_VALUES


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
    statistic = of_residuals(scatter.actual[subset.rows], scatter.residuals[subset.rows])
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
    better: Literal["higher", "lower"] = "lower" if name in LOWER else "higher"
    return Figure(value, reason=reason, about=ABOUT[name], better=better)
