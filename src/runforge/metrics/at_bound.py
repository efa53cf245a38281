"""95% intervals of figures that no resample changes: all answers right, or all wrong.

Resampling samples without a single error gives no error either, so the bootstrap's interval is one
point, as if there were nothing left to doubt. These take its place; each is the value of the metric
in the worst (or best) model under which what was seen has still a chance of 2.5%, or a known
interval that does not collapse:

* accuracy: Clopper and Pearson, *The use of confidence or fiducial limits*, 1934;
* balanced accuracy, F1: the same for the mean of several classes' shares, after Buehler,
  *Confidence intervals for the product of two binomial parameters*, 1957: the lowest mean of all
  with a chance of 2.5% to see no error; of classes of one size the same as accuracy's;
* area under the ROC curve: Newcombe's method 5, *Confidence intervals for an effect size measure
  based on the Mann–Whitney statistic, part 2*, 2006, with Hanley and McNeil's variance;
* average precision: a share of the positive samples, as Boyd, Eng and Page do, *Area under the
  precision-recall curve: point estimates and confidence intervals*, 2013, by Clopper and Pearson.

C classes.
"""

from __future__ import annotations

import math

import numpy as np

from runforge.metrics.bootstrap import TAIL, Interval
from runforge.metrics.rates import Margins, averages

NORMAL = 1.959963984540054
"""The normal distribution's quantile that 2.5% are above."""

HALVINGS = 60
"""Of 0..1, until nothing smaller can be told apart."""


def accuracy(counts: np.ndarray) -> Interval | None:
    """Of a confusion matrix, int64 [C, C]; None where some answers are right and some wrong."""
    count, hits = int(counts.sum()), int(np.trace(counts))
    if hits == count:
        return Interval(TAIL ** (1 / count), 1.0)
    return Interval(0.0, 1 - TAIL ** (1 / count)) if hits == 0 else None


def balanced_accuracy(counts: np.ndarray) -> Interval | None:
    """None where of some class some samples are found and some not."""
    margins = Margins.of(counts)
    all_found = (margins.hits == margins.support) & (margins.support > 0)
    none_found = (margins.hits == 0) & (margins.support > 0)
    classes = np.count_nonzero(margins.support)
    if np.count_nonzero(all_found | none_found) < classes:
        return None
    low = least_shares(margins.support[all_found]).sum() / classes
    return Interval(
        float(low), float(1 - least_shares(margins.support[none_found]).sum() / classes)
    )


def f1_macro(counts: np.ndarray) -> Interval | None:
    """None where some answers are right and some wrong.

    Of the model with the lowest balanced accuracy, whose errors go where they cost most: to the
    smallest of the other classes. Where all are wrong, errors are taken from where they are.
    """
    support, hits = counts.sum(axis=1), int(np.trace(counts))
    if 0 < hits < counts.sum():
        return None
    present = support > 0
    shares = np.zeros(len(counts))
    shares[present] = least_shares(support[present])
    if not hits:
        found = np.diag((1 - shares) * support) + counts * shares[:, None]
        return Interval(0.0, float(averages(found)["f1_macro"]))
    worst = np.diag(shares * support)
    for code in np.flatnonzero(present):
        sizes = np.where(present, support, np.inf)
        sizes[code] = math.inf
        worst[code, int(sizes.argmin() if np.isfinite(sizes).any() else code - 1)] += (
            1 - shares[code]
        ) * support[code]
    return Interval(float(averages(worst)["f1_macro"]), 1.0)


def least_shares(sizes: np.ndarray) -> np.ndarray:
    """The share of each class that is found, float64 [C], of all that have a chance of 2.5% to
    find every sample of classes of `sizes` those with the lowest mean.

    Σ p is least where Π pⁿ is 2.5% for p = min(1, μ·n): the smaller a class, the less is known.
    """
    if not len(sizes):
        return np.zeros(0)
    rising = np.sort(sizes).astype(np.float64)
    # ln μ if the k smallest classes are the ones below 1; it is the last for which they are.
    logs = (math.log(TAIL) - np.cumsum(rising * np.log(rising))) / np.cumsum(rising)
    last = np.flatnonzero(logs + np.log(rising) < 0)[-1]
    return np.asarray(np.minimum(1.0, np.exp(logs[last] + np.log(sizes))))


def roc_auc(areas: np.ndarray, positives: np.ndarray, count: int) -> Interval:
    """Of the mean of several classes' areas, [C] each, with so many `positives` of `count` samples.

    The mean of their intervals' ends: as wide as if the classes moved together, which is careful.
    """
    pairs = zip(areas.tolist(), positives.tolist(), strict=True)
    ends = [_area_ends(area, of, count - of) for area, of in pairs]
    return Interval(*(float(np.mean(side)) for side in zip(*ends, strict=True)))


def average_precision(positives: np.ndarray) -> Interval:
    """Of the mean of several classes, whose precision is 1 throughout, with so many `positives`."""
    return Interval(float(np.mean(TAIL ** (1 / positives))), 1.0)


def share(hits: int, count: int) -> Interval:
    """Clopper and Pearson's interval of a share, whatever it is."""
    from scipy.special import betaincinv  # only here: most figures need no scipy

    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, TAIL))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 1 - TAIL))
    return Interval(low, high)


def _area_ends(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Areas θ from which `area` is 1.96 standard errors away, with the error that θ has."""

    def apart(theta: float) -> float:
        more = (positives + negatives) / 2 - 1
        spread = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
        variance = theta * (1 - theta) * spread / (positives * negatives)
        return (area - theta) ** 2 - NORMAL**2 * variance

    def end(far: float) -> float:
        near, far = area, far
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            near, far = (near, middle) if apart(middle) > 0 else (middle, far)
        return far

    return (0.0 if area == 0 else end(0.0)), (1.0 if area == 1 else end(1.0))
