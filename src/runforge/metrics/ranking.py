"""Areas under the ROC and precision–recall curves for many weightings of the same samples.

What torchmetrics computes for one set of samples, as resampling needs it: the samples are ordered
once, and every resample is a row of weights. N samples, P of them positive, r weightings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runforge.metrics.rates import divide


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """float64 [r], nan where a weighting leaves no positive, or for the ROC no negative."""

    roc: np.ndarray
    average_precision: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Samples from the highest score to the lowest, and where each positive stands.

    Samples with equal scores are one step of the curves.
    """

    order: np.ndarray
    """int64 [N]."""
    positives: np.ndarray
    """int64 [P]: the positive samples, from the highest score to the lowest."""
    above: np.ndarray
    """int64 [P]: samples with a higher score than each positive."""
    reached: np.ndarray
    """int64 [P]: samples with a score as high or higher."""
    positives_above: np.ndarray
    """int64 [P]: positives with a higher score."""
    positives_reached: np.ndarray
    """int64 [P]: positives with a score as high or higher."""

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> Ranking:
        """`scores` float [N], `positive` bool [N]."""
        order = np.argsort(-scores, kind="stable")
        falling = -scores[order]
        own = falling[positive[order]]
        return cls(
            order,
            order[positive[order]],
            np.searchsorted(falling, own, "left"),
            np.searchsorted(falling, own, "right"),
            np.searchsorted(own, own, "left"),
            np.searchsorted(own, own, "right"),
        )

    def areas(self, weights: np.ndarray) -> Areas:
        """For each row of `weights`, int32 [r, N], whose sum is below 2³⁰."""
        samples = _cumulated(weights[:, self.order])
        own = weights[:, self.positives]
        hits = _cumulated(own)
        hits_reached = hits[:, self.positives_reached]
        reached = samples[:, self.reached]
        misses = reached - hits_reached + samples[:, self.above] - hits[:, self.positives_above]
        positives, total = hits[:, -1], samples[:, -1]
        negatives = total - positives
        # Each positive beats the negatives under it, and half of those with the same score.
        beaten = (own * (2.0 * negatives[:, None] - misses)).sum(axis=1)
        precisions = own * (hits_reached / np.maximum(reached, 1))
        return Areas(
            divide(beaten / 2, positives.astype(np.float64) * negatives),
            divide(precisions.sum(axis=1), positives),
        )


def _cumulated(weights: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, … columns, [r, K + 1]."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.int32)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
