"""Figures of a classification: one class a sample, of two classes or more.

What torchmetrics gets wrong is settled here. It takes an output of nan for class 0, and gives an
area of 0.67 or 0 for a class that no sample is of: here samples without a finite output are left
out and counted, and an absent class is left out and named. Areas and curves come from `standing`,
which is held against scikit-learn and takes a fraction of torchmetrics' time and memory. Everything
else follows from the confusion matrix or is one line of numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from runforge.metrics.answers import Answers
from runforge.metrics.bootstrap import (
    TAIL,
    Interval,
    Subset,
    collect,
    percentile_interval,
    resampled_margins,
    resampled_weights,
)
from runforge.metrics.calibration import centred
from runforge.metrics.figures import Confusion, Figure, Figures, non_finite_figure, non_finite_note
from runforge.metrics.names import ABOUT_CLASSES, LOWER, MAIN_OF_CLASSES
from runforge.metrics.rates import averages_of, class_rows
from runforge.predictions import Predictions

MAIN, ABOUT = MAIN_OF_CLASSES, ABOUT_CLASSES

AVERAGED = (
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    *(n for n in ABOUT if "macro" in n),
)
"""Averages over classes, which an absent class is left out of."""

_NAMED = 3
"""Absent classes that a remark names."""


def classification_figures(predictions: Predictions, *, resamples: int, seed: int) -> Figures:
    """All figures, the main ones with their 95% interval from `resamples` resamples.

    Samples with an output that is not finite count in `non_finite` and in nothing else. The same
    predictions and seed give the same numbers.
    """
    skipped, notes = non_finite_figure(predictions.non_finite), _notes(predictions)
    finite = predictions.only_finite()
    if finite is None:
        reason = "no sample has a finite output"
        undefined = {name: _plain(name, None, reason) for name in ABOUT}
        return Figures({**undefined, "non_finite": skipped}, MAIN, notes=notes)
    answers = Answers.of(finite)
    confusion = Confusion(finite.classes, answers.counts)
    return Figures(
        metrics={**_metrics(answers, resamples, seed), "non_finite": skipped},
        main=MAIN,
        per_class=class_rows(confusion),
        confusion=confusion,
        curves=answers.curves(),
        notes=(*notes, *_absence(answers.absent)),
    )


def _metrics(answers: Answers, resamples: int, seed: int) -> dict[str, Figure]:
    values = answers.values()
    intervals = _intervals(answers, values, resamples, np.random.default_rng(seed))
    return {name: _figure(name, values[name], intervals.get(name), answers) for name in ABOUT}


def _figure(name: str, value: float, interval: Interval | None, answers: Answers) -> Figure:
    if np.isnan(value):
        return _plain(name, None, "the samples are all of one class")
    reason = _remark(answers) if name in AVERAGED and answers.absent else ""
    if interval is None:
        return _plain(name, value, reason)
    if interval.low == interval.high:
        reason = reason or "every resample gives this value: too few samples or errors to tell more"
    return replace(_plain(name, value, reason), low=interval.low, high=interval.high)


def _plain(name: str, value: float | None, reason: str) -> Figure:
    better: Literal["higher", "lower"] = "lower" if name in LOWER else "higher"
    return Figure(value, reason=reason, about=ABOUT[name], better=better)


def _remark(answers: Answers) -> str:
    present = len(answers.classes) - len(answers.absent)
    return f"over the {present} of {len(answers.classes)} classes that have samples"


def _intervals(
    answers: Answers, values: Mapping[str, float], resamples: int, generator: np.random.Generator
) -> dict[str, Interval]:
    resampled = collect(resampled_margins(answers.counts, resamples, generator), averages_of)
    resampled.update(_resampled_by_weight(answers, values, resamples, generator))
    error = "calibration_error"
    resampled[error] = centred(resampled[error], values[error])
    found = {name: percentile_interval(resampled[name]) for name in MAIN}
    return {**found, "accuracy": _exact_at_the_ends(found["accuracy"], answers.counts)}


def _resampled_by_weight(
    answers: Answers, values: Mapping[str, float], resamples: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    subset = Subset.of(len(answers.targets), len(answers.classes), resamples, generator)
    statistic = answers.weighted(subset.rows)
    own = statistic(np.ones((1, len(subset.rows)), dtype=np.int32))
    drawn = collect(resampled_weights(len(subset.rows), resamples, generator), statistic)
    return {n: subset.rescale(part, float(own[n][0]), values[n]) for n, part in drawn.items()}


def _exact_at_the_ends(interval: Interval, counts: np.ndarray) -> Interval:
    """Clopper and Pearson's interval where all or none are right: no resample differs there."""
    count, hits = int(counts.sum()), int(np.trace(counts))
    if hits == count:
        return Interval(TAIL ** (1 / count), 1.0)
    if hits == 0:
        return Interval(0.0, 1 - TAIL ** (1 / count))
    return interval


def _notes(predictions: Predictions) -> tuple[str, ...]:
    return non_finite_note(predictions.non_finite, len(predictions.ids))


def _absence(absent: Sequence[str]) -> tuple[str, ...]:
    if not absent:
        return ()
    more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
    names = ", ".join(repr(name) for name in absent[:_NAMED])
    return (f"No sample is of the class {names}{more}: averages over classes leave it out.",)
