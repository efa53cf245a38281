"""What a classifier answered and what is true, as the figures are computed from it.

N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_precision_recall_curve,
    binary_roc,
    multiclass_confusion_matrix,
)

from runforge.metrics.by_weight import Weighted, losses, of_probabilities, ranked_classes
from runforge.metrics.calibration import calibration_error, gaps, reliability
from runforge.metrics.curves import area_curve
from runforge.metrics.figures import Curve, Series
from runforge.metrics.rates import averages
from runforge.predictions import Predictions


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Probabilities beside the truth; every output is finite."""

    classes: tuple[str, ...]
    targets: np.ndarray
    """int64 [N]."""
    probabilities: np.ndarray
    """float64 [N, C], in 0..1."""
    smallest: float
    """A probability nearer to 0 or 1 than this counts as this far: the outputs' precision."""
    counts: np.ndarray
    """int64 [C, C], rows are the truth."""

    @classmethod
    def of(cls, finite: Predictions) -> Answers:
        """From predictions of classes that are all finite."""
        counts = multiclass_confusion_matrix(
            torch.from_numpy(finite.predicted),
            torch.from_numpy(finite.targets),
            num_classes=len(finite.classes),
        )
        # A probability a rounding error above 1 would put torchmetrics through another softmax.
        probabilities = np.clip(finite.values.astype(np.float64), 0.0, 1.0)
        smallest = float(np.finfo(finite.values.dtype).eps)
        return cls(finite.classes, finite.targets, probabilities, smallest, counts.numpy())

    def subset(self, rows: np.ndarray) -> Answers:
        """Some of the samples, with the ranked classes of all."""
        return replace(self, targets=self.targets[rows], probabilities=self.probabilities[rows])

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
        once = np.ones((1, len(self.targets)))
        return {
            **{name: float(value) for name, value in averages(self.counts).items()},
            "roc_auc": self._mean_area(binary_auroc),
            "average_precision": self._mean_area(binary_average_precision),
            "log_loss": float(self._losses().mean()),
            "calibration_error": float(calibration_error(once, self._gaps())[0]),
        }

    def curves(self) -> tuple[Curve, ...]:
        """ROC and precision–recall of each ranked class, and reliability."""
        roc, precision_recall = [], []
        for code in self.ranked:
            pair = self._one_against_rest(code)
            x, y, _ = binary_roc(*pair)
            roc.append(Series(self.classes[code], x.numpy(), y.numpy()))
            precision, recall, _ = binary_precision_recall_curve(*pair)
            line = Series(self.classes[code], recall.numpy(), precision.numpy())
            precision_recall.append(line)
        lines = {"roc": roc, "precision_recall": precision_recall}
        drawn = [area_curve(name, series) for name, series in lines.items() if series]
        return (*drawn, reliability(self._confidence(), self._right()))

    def weighted(self) -> Weighted:
        """What depends on more than the confusion matrix, for any weights of the samples."""
        return of_probabilities(
            self.probabilities, self.targets, ranked=self.ranked, smallest=self.smallest
        )

    def _mean_area(self, area: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        areas = [float(area(*self._one_against_rest(code))) for code in self.ranked]
        return float(np.mean(areas)) if areas else float("nan")

    def _one_against_rest(self, code: int) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.from_numpy(np.ascontiguousarray(self.probabilities[:, code]))
        return scores, torch.from_numpy((self.targets == code).astype(np.int64))

    def _losses(self) -> np.ndarray:
        """Float64 [N]."""
        return losses(self.probabilities, self.targets, self.smallest)

    def _confidence(self) -> np.ndarray:
        return np.asarray(self.probabilities.max(axis=1))

    def _right(self) -> np.ndarray:
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets, dtype=np.float64)

    def _gaps(self) -> np.ndarray:
        return gaps(self._confidence(), self._right())
