"""Figures of a classification: one class a sample, of two classes or more.

What torchmetrics gets wrong is settled here. It takes an output of nan for class 0, and gives an
area of 0.67 or 0 for a class that no sample is of: here samples without a finite output are left
out and counted, and an absent class is left out and named. Areas and curves come from `standing`,
which is held against scikit-learn and takes a fraction of torchmetrics' time and memory. Everything
else follows from the confusion matrix or is one line of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from runforge.metrics import at_bound
from runforge.metrics.answers import Answers
from runforge.metrics.balance import FEW, few_note, imbalanced
from runforge.metrics.baseline import of_classes
from runforge.metrics.bootstrap import (
    Interval,
    Subset,
    collect,
    percentile_interval,
    resampled_margins,
    resampled_weights,
)
from runforge.metrics.calibration import centred
from runforge.metrics.figures import (
    NO_RESAMPLE_DIFFERS,
    Confusion,
    Figure,
    Figures,
    non_finite_figure,
    non_finite_note,
)
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


def classification_figures(
    predictions: Predictions, *, resamples: int, seed: int, usual: int | None = None
) -> Figures:
    """All figures, the main ones with their 95% interval from `resamples` resamples.

    Samples with an output that is not finite count in `non_finite` and in nothing else. The same
    predictions and seed give the same numbers. `usual`: the class that the model is held against,
    as if that were always the answer; None: against nothing.
    """
    skipped, notes = non_finite_figure(predictions.non_finite), _notes(predictions)
    finite = predictions.only_finite()
    if finite is None:
        reason = "no sample has a finite output"
        undefined = {name: _plain(name, None, reason) for name in ABOUT}
        return Figures({**undefined, "non_finite": skipped}, MAIN, notes=notes)
    answers = Answers.of(finite)
    confusion = Confusion(finite.classes, answers.counts)
    baseline = None if usual is None else of_classes(answers, usual)
    return Figures(
        metrics={
            **_metrics(answers, resamples, seed),
            **({} if baseline is None else baseline.metrics),
            "non_finite": skipped,
        },
        main=MAIN,
        per_class=class_rows(confusion),
        confusion=confusion,
        curves=answers.curves(),
        notes=(*notes, *_remarks(answers), *_absence(answers.absent)),
        baseline=baseline,
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
    if interval.low is None:
        reason = reason or NO_RESAMPLE_DIFFERS
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
    return {name: _honest(name, found[name], answers, values) for name in MAIN}


def _honest(
    name: str, interval: Interval, answers: Answers, values: Mapping[str, float]
) -> Interval:
    """The interval, or where no resample differs one that does not pretend to know all."""
    of_counts = {
        "accuracy": at_bound.accuracy,
        "balanced_accuracy": at_bound.balanced_accuracy,
        "f1_macro": at_bound.f1_macro,
    }
    exact = of_counts[name](answers.counts) if name in of_counts else None
    if exact is not None or not interval.is_point:
        return exact or interval
    positives = answers.counts.sum(axis=1)[answers.ranked]
    if name == "roc_auc" and len(positives):
        areas = np.array([standing.roc_auc() for standing in answers.standings])
        return at_bound.roc_auc(areas, positives, len(answers.targets))
    if name == "average_precision" and values[name] == 1:
        return at_bound.average_precision(positives)
    return Interval(None, None)


def _resampled_by_weight(
    answers: Answers, values: Mapping[str, float], resamples: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    subset = Subset.of(len(answers.targets), len(answers.classes), resamples, generator)
    statistic = answers.weighted(subset.rows)
    own = statistic(np.ones((1, len(subset.rows)), dtype=np.int32))
    drawn = collect(resampled_weights(len(subset.rows), resamples, generator), statistic)
    return {n: subset.rescale(part, float(own[n][0]), values[n]) for n, part in drawn.items()}


def _notes(predictions: Predictions) -> tuple[str, ...]:
    return non_finite_note(predictions.non_finite, len(predictions.ids))


def _remarks(answers: Answers) -> Iterator[str]:
    """What makes the figures say less than they seem to."""
    support, count = answers.counts.sum(axis=1), len(answers.targets)
    taken = np.flatnonzero(answers.counts.sum(axis=0))
    if len(taken) == 1 and np.count_nonzero(support) > 1:
        name = answers.classes[taken[0]]
        yield f"Every sample is taken for {name!r}: the model tells no class from another."
    if imbalanced(support):
        largest = int(support.argmax())
        told = f"{support[largest] / count:.1%} of the samples are of the class"
        about = "accuracy says little, balanced accuracy says how well each class is found"
        yield f"{told} {answers.classes[largest]!r}: {about}."
    if count < FEW:
        yield few_note(count)


def _absence(absent: Sequence[str]) -> tuple[str, ...]:
    if not absent:
        return ()
    more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
    names = ", ".join(repr(name) for name in absent[:_NAMED])
    return (f"No sample is of the class {names}{more}: averages over classes leave it out.",)
