"""Whether another form of a model (traced, exported) predicts as the trained one does.

B is the batch, C the number of columns of predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""Two outputs agree within RELATIVE of the trained one's, or ABSOLUTE of its spread or of 1."""

Predict = Callable[[np.ndarray], np.ndarray]
"""Packed rows [B, ...] → predictions [B, C]."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first batch whose outputs don't agree, and by how much at most."""

    batch_size: int
    largest: float
    """Absolute; inf where shapes differ or a number is not finite on one side only."""


def by_torch(module: torch.nn.Module) -> Predict:
    """What a module predicts, as a function of arrays."""

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            outputs: torch.Tensor = module(torch.from_numpy(batch))
        return outputs.numpy()

    return predict


def first_difference(
    trained: Predict, other: Predict, batches: Iterable[np.ndarray]
) -> Difference | None:
    """Of the batches, the first on which both don't agree; None where they always do."""
    for batch in batches:
        expected, found = trained(batch), other(batch)
        scale = max(1.0, float(np.std(expected))) if expected.size else 1.0
        atol = ABSOLUTE * scale
        same_shape = found.shape == expected.shape
        if not same_shape or not _close(found, expected, atol):
            gap = np.abs(found - expected).max() if same_shape else np.inf
            return Difference(len(batch), float(gap) if np.isfinite(gap) else float("inf"))
    return None


def _close(found: np.ndarray, expected: np.ndarray, atol: float) -> bool:
    return np.allclose(found, expected, rtol=RELATIVE, atol=atol, equal_nan=True)
