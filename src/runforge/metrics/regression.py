"""Figures of a regression: one value a sample, in the target's own unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from runforge.metrics.balance import FEW, few_note
from runforge.metrics.baseline import of_values
from runforge.metrics.bootstrap import Subset, collect, percentile_interval, resampled_weights
from runforge.metrics.by_weight import of_residuals
from runforge.metrics.figures import (
    NO_RESAMPLE_DIFFERS,
    Figure,
    Figures,
    Scatter,
    non_finite_figure,
    non_finite_note,
)
from runforge.metrics.names import ABOUT_VALUES, LOWER, MAIN_OF_VALUES
from runforge.metrics.together import Measured
from runforge.predictions import Predictions

MAIN, ABOUT = MAIN_OF_VALUES, ABOUT_VALUES


def regression_figures(
    predictions: Predictions, *, resamples: int, seed: int, usual: float | None = None
) -> Figures:
    """All figures, each with its 95% interval from `resamples` resamples.

    Samples with an output that is not finite count in `non_finite` and in nothing else. The same
    predictions and seed give the same numbers. `usual`: the value that the model is held against,
    as if that were always the answer; None: against nothing.
    """
    skipped = non_finite_figure(predictions.non_finite)
    notes = non_finite_note(predictions.non_finite, len(predictions.ids))
    finite = predictions.only_finite()
    if finite is None:
        reason = "no sample has a finite output"
        undefined = {name: _plain(name, None, reason) for name in ABOUT}
        return Figures({**undefined, "non_finite": skipped}, MAIN, notes=notes)
    scatter = Scatter(finite.ids, finite.targets.astype(np.float64), finite.predicted)
    notes = (*notes, few_note(len(finite.ids))) if len(finite.ids) < FEW else notes
    told = [scatter, *([] if usual is None else [_always(scatter, usual)])]
    model, *always = _measured(told, resamples, np.random.default_rng(seed))
    metrics = {name: _figure(name, model.values[name], model.resampled[name]) for name in MAIN}
    baseline = of_values(model, always[0], usual) if always and usual is not None else None
    found = {**metrics, **(baseline.metrics if baseline else {}), "non_finite": skipped}
    return Figures(found, MAIN, scatter=scatter, notes=notes, baseline=baseline)


def _always(scatter: Scatter, value: float) -> Scatter:
    """The same samples with one answer for all."""
    return Scatter(scatter.ids, scatter.actual, np.full(len(scatter.actual), value))


def _measured(
    told: Sequence[Scatter], resamples: int, generator: np.random.Generator
) -> list[Measured]:
    """Answers to the same samples, on the same resamples."""
    count = len(told[0].actual)
    subset = Subset.of(count, 1, resamples, generator)
    statistics = [of_residuals(one.actual[subset.rows], one.residuals[subset.rows]) for one in told]

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        as_float = weights.astype(np.float64)  # once for all
        found = [one(as_float) for one in statistics]
        return {f"{at} {n}": part for at, named in enumerate(found) for n, part in named.items()}

    own = statistic(np.ones((1, len(subset.rows)), dtype=np.int32))
    drawn = collect(resampled_weights(len(subset.rows), resamples, generator), statistic)
    made = []
    for at, one in enumerate(told):
        values = _values(one)
        resampled = {
            n: subset.rescale(drawn[f"{at} {n}"], float(own[f"{at} {n}"][0]), values[n])
            for n in MAIN
        }
        made.append(Measured(None, None, count, values, resampled))
    return made


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
    if interval.is_point:
        # Nothing bounds an error that was never seen.
        return _plain(name, value, NO_RESAMPLE_DIFFERS)
    return replace(_plain(name, value, ""), low=interval.low, high=interval.high)


def _plain(name: str, value: float | None, reason: str) -> Figure:
    better: Literal["higher", "lower"] = "lower" if name in LOWER else "higher"
    return Figure(value, reason=reason, about=ABOUT[name], better=better)
