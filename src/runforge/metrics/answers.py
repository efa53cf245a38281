"""What a classifier answered and what is true, as the figures are computed from it.

N samples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runforge.metrics.by_weight import Weighted, losses, of_probabilities, ranked_classes
from runforge.metrics.calibration import error_of, reliability
from runforge.metrics.curves import area_curve
from runforge.metrics.figures import Curve
from runforge.metrics.rates import averages
from runforge.metrics.standing import Standing, standings
from runforge.predictions import Predictions, largest


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Probabilities beside the truth; every output is finite."""

    classes: tuple[str, ...]
    targets: np.ndarray
    """int64 [N]."""
    probabilities: np.ndarray
    """float32 or float64 [N, C]; what is beyond 0..1 by a rounding error counts as the bound."""
    smallest: float
    """A probability nearer to 0 or 1 than this counts as this far: the outputs' precision."""
    confidence: np.ndarray
    """float64 [N]: the probability of the most probable class."""
    right: np.ndarray
    """float64 [N]: 1 where that class is the true one."""
    counts: np.ndarray
    """int64 [C, C], rows are the truth."""
    standings: list[Standing]
    """Of the ranked classes."""

    @classmethod
    def of(cls, finite: Predictions) -> Answers:
        """From predictions of classes that are all finite."""
        targets, predicted, count = finite.targets, finite.predicted, len(finite.classes)
        cells = np.bincount(targets * count + predicted, minlength=count * count)
        counts = cells.reshape(count, count)
        return cls(
            finite.classes,
            targets,
            finite.values,
            float(np.finfo(finite.values.dtype).eps),
            np.clip(largest(finite.values).astype(np.float64), 0.0, 1.0),
            (predicted == targets).astype(np.float64),
            counts,
            standings(finite.values, targets, ranked_classes(counts)),
        )

    @property
    def ranked(self) -> list[int]:
        """Classes that some samples are of and some are not; of two classes the second alone."""
        return ranked_classes(self.counts)

    @property
    def absent(self) -> list[str]:
        """Classes that no sample is of."""
        return [n for n, row in zip(self.classes, self.counts, strict=True) if not row.any()]

    def values(self) -> dict[str, float]:
        """Every metric by name; nan where undefined."""
        return {
            **{name: float(value) for name, value in averages(self.counts).items()},
            "roc_auc": _mean([standing.roc_auc() for standing in self.standings]),
            "average_precision": _mean([s.average_precision() for s in self.standings]),
            "log_loss": float(losses(self.probabilities, self.targets, self.smallest).mean()),
            "calibration_error": error_of(self.confidence, self.right),
        }

    def curves(self) -> tuple[Curve, ...]:
        """ROC and precision–recall of each ranked class, and reliability."""
        named = [(self.classes[c], s) for c, s in zip(self.ranked, self.standings, strict=True)]
        drawn = (
            area_curve("roc", (standing.roc(name) for name, standing in named)),
            area_curve("precision_recall", (s.precision_recall(name) for name, s in named)),
        )
        return (*(drawn if named else ()), reliability(self.confidence, self.right))

    def weighted(self, rows: np.ndarray) -> Weighted:
        """What depends on more than the confusion matrix, for any weights of the given samples."""
        probabilities = np.clip(self.probabilities[rows].astype(np.float64), 0.0, 1.0)
        return of_probabilities(
            probabilities, self.targets[rows], ranked=self.ranked, smallest=self.smallest
        )


def _mean(areas: list[float]) -> float:
    return float(np.mean(areas)) if areas else float("nan")
