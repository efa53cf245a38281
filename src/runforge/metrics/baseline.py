"""What always giving the same answer comes to, and whether a model is better by more than chance.

Of classes the answer is the one that is most frequent in training, of values the mean of training.
N samples, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runforge.metrics import at_bound
from runforge.metrics.answers import Answers
from runforge.metrics.balance import imbalanced
from runforge.metrics.bootstrap import percentile_interval
from runforge.metrics.figures import Figure
from runforge.metrics.paired import (
    MCNEMAR,
    PERMUTATION,
    Difference,
    by_class,
    difference,
    mcnemar,
    p_sign,
)
from runforge.metrics.rates import averages
from runforge.metrics.together import Measured

OF_VALUES = ("r2", "mae")


STANDING = {"second": "better", "first": "worse", None: "no better"}
"""How a model stands to it, by the winner of the test."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The answer, and each metric of it (first) beside the model's (second)."""

    answer: str
    """As a sentence names it: `'no'`, `the mean of training, 152.1`."""
    metrics: Mapping[str, Figure]
    """`baseline_accuracy` or `baseline_r2`, with its interval."""
    differences: tuple[Difference, ...]
    """The one that decides first."""

    @property
    def is_better(self) -> bool:
        """By the metric that decides, by more than chance."""
        return self.differences[0].winner == "second"

    def standing(self, found: Difference) -> str:
        """`better`, `worse` or `no better` by one of the metrics."""
        return STANDING[found.winner]

    @property
    def told(self) -> str:
        """Whether the model is better, in one line."""
        first, *others = self.differences
        line = f"{STANDING[first.winner]} than always saying {self.answer}: {_name(first)} "
        line += _numbers(first)
        for one in others:
            standing = "too" if one.winner == first.winner else STANDING[one.winner]
            line += f"; by {_name(one)} {standing}: {_numbers(one)}"
        return line


def of_classes(answers: Answers, usual: int) -> Baseline:
    """Always the class `usual`."""
    targets, support = answers.targets, answers.counts.sum(axis=1)
    own, always = answers.right == 1, targets == usual
    only_own = np.bincount(targets[own & ~always], minlength=len(support))
    only_always = np.bincount(targets[always & ~own], minlength=len(support))
    hits, count = int(support[usual]), len(targets)
    rates = {name: float(value) for name, value in averages(answers.counts).items()}
    accuracy = Difference(
        "accuracy",
        hits / count,
        rates["accuracy"],
        None,
        None,
        mcnemar(int(only_always.sum()), int(only_own.sum())),
        MCNEMAR,
        "higher",
    )
    interval, name = at_bound.share(hits, count), answers.classes[usual]
    about = f"accuracy of always saying {name!r}, the class most frequent in training"
    figure = Figure(accuracy.first, interval.low, interval.high, about=about)
    found: tuple[Difference, ...] = (accuracy,)
    if imbalanced(support):
        balanced = Difference(
            "balanced_accuracy",
            float(hits > 0) / np.count_nonzero(support),
            rates["balanced_accuracy"],
            None,
            None,
            by_class(only_always, only_own, support),
            PERMUTATION,
            "higher",
        )
        found = (balanced, accuracy)
    return Baseline(repr(name), {"baseline_accuracy": figure}, found)


def of_values(model: Measured, always: Measured, mean: float) -> Baseline:
    """Always the mean of training; both are measured on the same resamples."""
    found = tuple(difference(name, always, model) for name in OF_VALUES)
    interval = percentile_interval(always.resampled["r2"])
    answer = f"the mean of training, {mean:.4g}"
    value = None if np.isnan(always.values["r2"]) else always.values["r2"]
    about = f"r2 of always saying {answer}"
    figure = Figure(value, interval.low, interval.high, about=about)
    return Baseline(answer, {"baseline_r2": figure}, found)


def _name(found: Difference) -> str:
    return found.metric.replace("_", " ")


def _numbers(found: Difference) -> str:
    if found.first is None or found.second is None:
        return "undefined"
    told = found.test if found.p_value is None else f"p {p_sign(found.p_value)}"
    return f"{found.second:.4g} against {found.first:.4g} ({told})"
