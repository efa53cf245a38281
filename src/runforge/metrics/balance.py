"""Whether classes are of like sizes, and whether there are enough samples to tell anything.

C classes.
"""

from __future__ import annotations

import numpy as np

from runforge.wording import counted

UNEVEN = 0.75
"""Share of the classes that must remain when they are counted by their weight."""

FEW = 30
"""Samples below which resampling is too sure of itself: of two equal models it calls one better in
15% of the cases with 8 samples, in 8% with 20, instead of in 5%."""


def imbalanced(support: np.ndarray) -> bool:
    """Whether accuracy is made by the large classes; `support`: samples of each class, int64 [C].

    The effective number of classes, 1 / Σ share² (Simpson, *Measurement of diversity*, 1949), is
    below three quarters of those present: of two, the smaller has less than 21%. A ratio of the
    largest to the smallest would call every small test set with many classes imbalanced.
    """
    present = support[support > 0].astype(np.float64)
    shares = present / present.sum()
    return bool(1 / (shares**2).sum() < UNEVEN * len(present))


def few_note(count: int) -> str:
    """The sentence that a reader must see where there are fewer samples than `FEW`."""
    return (
        f"Only {counted(count, 'sample')}: intervals that are resampled from so few are too narrow."
    )
