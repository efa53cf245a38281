"""What an evaluation comes to: parts that a report draws where they are there.

Nothing here says what kind of task it is; a part that a task has no use for is empty.
C classes, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from runforge.metrics.baseline import Baseline

METRICS, MAIN_METRICS = "metrics.json", "main_metrics.json"
"""Files of an evaluation: every number; the main metrics alone, without ends of intervals."""

NOTES = "notes.txt"
"""What a person should read beside the numbers, a line each."""

NO_RESAMPLE_DIFFERS = "every resample gives this value: no interval can be told"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95% interval."""

    value: float | None
    """None: it is undefined for these samples, and `reason` says why."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval; None: it has none."""
    reason: str = ""
    """Why it is undefined, or what was left out of it; empty where there is nothing to say."""
    about: str = ""
    """What it measures, in half a sentence."""
    better: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One line of a curve: points (x, y), float64 [P] each."""

    name: str
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None
    """Samples behind each point, int64 [P]; None: the points are a line's corners."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines over the unit square."""

    name: str
    """File name and key, such as `precision_recall`."""
    title: str
    x_name: str
    """What x is, in snake case: the column's name, and with blanks the axis's."""
    y_name: str
    series: tuple[Series, ...]
    diagonal: bool = False
    """Draw y = x: chance for a ROC curve, perfection for a reliability curve."""


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts of samples by true and predicted class."""

    classes: tuple[str, ...]
    counts: np.ndarray
    """int64 [C, C]: rows are the truth, columns the prediction."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How one class is found; all in 0..1, None where undefined."""

    name: str
    precision: float | None
    """None: it is never predicted."""
    recall: float | None
    """None: no sample is of it."""
    f1: float | None
    """None: no sample is of it."""
    support: int
    """Samples that are of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Scatter:
    """Predicted beside true values, float64 [N], in the target's own unit."""

    ids: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray

    @property
    def residuals(self) -> np.ndarray:
        """What the prediction misses: actual − predicted, float64 [N]."""
        return np.asarray(self.actual - self.predicted)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is computed from one set of predictions."""

    metrics: Mapping[str, Figure]
    main: tuple[str, ...]
    """Names of the metrics that matter most, the headline first; these have intervals."""
    per_class: tuple[ClassRow, ...] = ()
    confusion: Confusion | None = None
    curves: tuple[Curve, ...] = ()
    scatter: Scatter | None = None
    notes: tuple[str, ...] = ()
    """Sentences that a reader must see beside the numbers."""
    baseline: Baseline | None = None
    """What always giving the same answer comes to, and whether this is better."""

    def told(self) -> tuple[str, ...]:
        """What a person should read beside the numbers, a line each."""
        held = (f"The model is {self.baseline.told}.",) if self.baseline else ()
        return (*held, *self.notes)

    def undefined(self) -> dict[str, str]:
        """The metrics without a value, each with the reason."""
        return {name: f.reason for name, f in self.metrics.items() if f.value is None}

    def numbers(self) -> dict[str, float]:
        """Flat name → number; a main metric also as `<name>_low` and `<name>_high`."""
        flat: dict[str, float] = {}
        for name, figure in self.metrics.items():
            parts = {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
            flat.update({key: float(part) for key, part in parts.items() if part is not None})
        return flat

    def main_numbers(self) -> dict[str, float]:
        """Flat name → number of the main metrics alone; what is undefined is left out."""
        values = {name: self.metrics[name].value for name in self.main}
        return {name: float(value) for name, value in values.items() if value is not None}


def non_finite_figure(count: int) -> Figure:
    """How many samples have no prediction."""
    about = "samples without a prediction: an output is nan or infinite"
    return Figure(float(count), about=about, better="lower")


def non_finite_note(count: int, total: int) -> tuple[str, ...]:
    """The sentence that a reader must see where samples have no prediction."""
    if count == 0:
        return ()
    share = f"{count} of {total} samples"
    return (f"{share} have an output that is nan or infinite: no other figure counts them.",)
