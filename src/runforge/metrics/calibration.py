"""Whether a model is right as often as it says.

The expected calibration error of the most probable class (Guo et al., *On Calibration of Modern
Neural Networks*, 2017): samples fall into 15 equal bins of confidence, [0, 1/15), …, [14/15, 1];
the error is the mean over the samples of |share right − mean confidence| of their bin.
"""

from __future__ import annotations

import numpy as np

from runforge.metrics.figures import Curve, Series

BINS = 15


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of each sample, int64 [N], of confidences in 0..1, [N]."""
    edges = np.arange(1, BINS) / BINS
    return np.searchsorted(edges, confidence, "right")


def gaps(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """right − confidence of each sample in the column of its bin, 0 elsewhere, [N, BINS]."""
    columns = np.zeros((len(confidence), BINS))
    columns[np.arange(len(confidence)), bin_of(confidence)] = right - confidence
    return columns


def calibration_error(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The error for each weighting of the samples, [r], from `weights` [r, N] and `gaps`."""
    return np.asarray(np.abs(weights @ columns).sum(axis=1) / weights.sum(axis=1))


def error_of(confidence: np.ndarray, right: np.ndarray) -> float:
    """The error of samples that all weigh the same."""
    sums = np.bincount(bin_of(confidence), right - confidence, BINS)
    return float(np.abs(sums).sum() / len(confidence))


def centred(resampled: np.ndarray, value: float) -> np.ndarray:
    """Resamples moved so that their median is the value, and no one is below 0.

    A resampled error is too large: noise within a bin can only add to it, and resampling adds it
    once more. Where the model is well calibrated its plain interval would lie above the value.
    """
    return np.asarray(np.maximum(resampled - np.median(resampled) + value, 0.0))


def reliability(confidence: np.ndarray, right: np.ndarray) -> Curve:
    """Share right over mean confidence, for each bin that has samples."""
    bins = bin_of(confidence)
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0
    means = [np.bincount(bins, part, BINS)[used] / counts[used] for part in (confidence, right)]
    series = Series("most probable class", means[0], means[1], counts[used])
    return Curve("reliability", "Reliability", "confidence", "share_right", (series,), True)
