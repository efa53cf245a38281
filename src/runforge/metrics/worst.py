"""The samples that a model does worst on, as a person should look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runforge.predictions import NO_CLASS, Predictions

NOT_FINITE = "none: not finite"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a caption."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """One sample with what is true and what was predicted."""

    row: int
    """Row in the predictions."""
    sample_id: str
    right: bool | None
    """Whether the prediction is the truth; None where it is a matter of degree."""
    facts: tuple[Fact, ...]


def worst_cases(predictions: Predictions, count: int) -> tuple[Case, ...]:
    """At most `count` samples, the worst first; equally bad ones in the order of the predictions.

    First those without a finite output. Of classes: the wrong ones, then the right ones, each from
    the lowest probability of the true class. Of values: from the largest absolute residual.
    """
    if predictions.classes:
        return tuple(_class_case(predictions, row) for row in _class_order(predictions)[:count])
    return tuple(_value_case(predictions, row) for row in _value_order(predictions)[:count])


def wrong_count(predictions: Predictions) -> int | None:
    """Samples whose answer is not the truth; None where it is a matter of degree."""
    if not predictions.classes:
        return None
    return int(np.count_nonzero(predictions.predicted != predictions.targets))


def sections(cases: Sequence[Case], wrong: int | None) -> tuple[tuple[str, slice], ...]:
    """The cases as a person should read them: a heading, and which of `cases` are under it.

    `wrong`: how many samples are wrong, whether they are among the cases or not.
    """
    if wrong is None:
        return (("Largest errors", slice(None)),)
    shown = sum(case.right is False for case in cases)
    of = f"{shown} of {wrong}" if shown < wrong else str(wrong)
    parts = (
        (f"Wrong answers: {of}", slice(shown)),
        ("Right, but least sure", slice(shown, None)),
    )
    return tuple(part for part in parts if cases[part[1]])


def _class_order(predictions: Predictions) -> list[int]:
    true = predictions.values[np.arange(len(predictions.ids)), predictions.targets]
    right = predictions.predicted == predictions.targets
    finite = predictions.finite
    order: list[int] = np.lexsort((np.where(finite, true, 0.0), right, finite)).tolist()
    return order


def _value_order(predictions: Predictions) -> list[int]:
    missed = np.abs(predictions.targets - predictions.predicted)
    # A nan is worse than any residual.
    worst_first = np.where(np.isnan(missed), -np.inf, -missed)
    order: list[int] = np.argsort(worst_first, kind="stable").tolist()
    return order


def _class_case(predictions: Predictions, row: int) -> Case:
    target, guess = int(predictions.targets[row]), int(predictions.predicted[row])
    truth = Fact("true", predictions.classes[target])
    identity = str(predictions.ids[row])
    if guess == NO_CLASS:
        return Case(row, identity, False, (truth, Fact("predicted", NOT_FINITE)))
    probabilities = predictions.values[row]
    facts = (
        truth,
        Fact("predicted", predictions.classes[guess]),
        Fact("p(true)", f"{probabilities[target]:.3f}"),
        Fact("p(predicted)", f"{probabilities[guess]:.3f}"),
    )
    return Case(row, identity, guess == target, facts)


def _value_case(predictions: Predictions, row: int) -> Case:
    target, value = float(predictions.targets[row]), float(predictions.predicted[row])
    truth = Fact("true", f"{target:.5g}")
    identity = str(predictions.ids[row])
    if np.isnan(value):
        return Case(row, identity, None, (truth, Fact("predicted", NOT_FINITE)))
    facts = (truth, Fact("predicted", f"{value:.5g}"), Fact("residual", f"{target - value:+.5g}"))
    return Case(row, identity, None, facts)
