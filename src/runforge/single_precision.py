"""What 32-bit floats, in which rows and targets are packed, can hold of numbers: seven digits."""

from __future__ import annotations

import numpy as np

from runforge.errors import DataError

COARSE = 1e-3
"""Steps of a 32-bit float beyond this share of the numbers' standard deviation lose what they say:
seconds since 1970 come in steps of 128."""


def origin(values: np.ndarray) -> float:
    """What numbers are to be counted from, so that 32-bit floats tell them apart; 0 where they do.

    `values` float64 [n]. The whole number in the middle between the least and the greatest.
    """
    if not _too_coarse(values):
        return 0.0
    return float(np.round(values.min() / 2 + values.max() / 2))


def packed_targets(values: np.ndarray, name: str) -> np.ndarray:
    """float32 [n] of float64 [n]; raises `DataError` where nothing is left to learn."""
    where = f"the target {name!r}"
    least, greatest = float(values.min()), float(values.max())
    if least == greatest:
        raise DataError(f"is {least:g} in every sample", where=where, mend="choose another target")
    if _too_coarse(values):
        middle = f"{np.round(least / 2 + greatest / 2):.0f}"
        raise DataError(
            f"lies between {least:.10g} and {greatest:.10g}, which 32-bit floats hardly tell apart",
            where=where,
            mend=f"subtract a constant in the table, such as {middle}, and add it to predictions",
        )
    return values.astype(np.float32)


def _too_coarse(values: np.ndarray) -> bool:
    if len(values) == 0:
        return False
    step = float(np.spacing(np.float32(np.abs(values).max())))
    spread = float(
        (values / 2).std() * 2
    )  # halves: the difference of the largest must not overflow
    return spread > 0 and step > COARSE * spread
