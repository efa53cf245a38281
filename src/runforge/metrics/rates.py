"""Rates of right and wrong answers, from confusion matrices; rows are the truth.

C classes. One matrix is [C, C], a stack of them [..., C, C]. A class that no
sample is of has no recall and no F1, and no average counts it: that a class is absent says nothing
about a model. A class that is never predicted has no precision, and counts as 0 in averages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runforge.metrics.figures import ClassRow, Confusion


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Rates of each class, float64 [..., C], nan where undefined."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    """Samples of the class, int64 [..., C]."""


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """All of a confusion matrix that rates depend on, int64 [..., C]."""

    hits: np.ndarray
    """The diagonal."""
    support: np.ndarray
    """Sums of the rows: samples of each class."""
    predicted: np.ndarray
    """Sums of the columns: samples that are predicted as each class."""

    @classmethod
    def of(cls, counts: np.ndarray) -> Margins:
        """Of one matrix [C, C] or a stack of them."""
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        return cls(hits, counts.sum(-1), counts.sum(-2))


def rates(margins: Margins) -> Rates:
    """Precision, recall and F1 of each class."""
    hits, support, predicted = margins.hits, margins.support, margins.predicted
    f1 = divide(2 * hits, support + predicted)
    return Rates(
        precision=divide(hits, predicted),
        recall=divide(hits, support),
        f1=np.where(support > 0, f1, np.nan),
        support=support,
    )


def averages(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of matrices [..., C, C] by name, float64 [...]; nan where there is no sample."""
    return averages_of(Margins.of(counts))


def averages_of(margins: Margins) -> dict[str, np.ndarray]:
    """The same of what the matrices come to."""
    found, support = rates(margins), margins.support
    total = support.sum(-1)
    named = {
        "precision": np.nan_to_num(found.precision),
        "recall": np.nan_to_num(found.recall),
        "f1": np.nan_to_num(found.f1),
    }
    present = support > 0
    macro = {n: divide((v * present).sum(-1), present.sum(-1)) for n, v in named.items()}
    weighted = {n: divide((v * support).sum(-1), total) for n, v in named.items()}
    return {
        "accuracy": divide(margins.hits.sum(-1), total),
        "balanced_accuracy": macro["recall"],
        **{f"{name}_macro": value for name, value in macro.items()},
        **{f"{name}_weighted": value for name, value in weighted.items()},
    }


def class_rows(confusion: Confusion) -> tuple[ClassRow, ...]:
    """The rates of each class, in the order of the classes."""
    found = rates(Margins.of(confusion.counts))
    return tuple(
        ClassRow(
            name,
            precision=_or_none(found.precision[code]),
            recall=_or_none(found.recall[code]),
            f1=_or_none(found.f1[code]),
            support=int(found.support[code]),
        )
        for code, name in enumerate(confusion.classes)
    )


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below in float64, nan where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), below)
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
