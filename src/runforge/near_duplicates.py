"""Pictures of one scene in two splits: found by perceptual hash, whatever their encoding or size.

dHash (Krawetz 2013, hackerfactor.com/blog/?/archives/529): the picture as 8 rows of 9 grey levels;
bit i says whether a level is above its left neighbour. 64 bits; N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from runforge.sample import SPLITS

MOST_BITS = 4
"""Two pictures are near where their hashes differ in at most so many of 64 bits."""

LEAST_SIDE = 32
"""Pixels: in a smaller picture nine columns are no gist but most of it, and strangers are near."""

FEWEST_EDGES = 8
"""Of 64 bits set, or not set: a plain or evenly shaded picture is near every other one."""

BLOCK = 512, 8192
"""Hashes of either side that are compared at once: a few tens of megabytes."""


def hash_of(picture: np.ndarray) -> int | None:
    """The hash of a picture uint8 [H, W, 3]; None where it is too small or too plain to tell."""
    if min(picture.shape[:2]) < LEAST_SIDE:
        return None
    # In floats: levels rounded to whole numbers are often equal, and noise decides.
    grey = Image.fromarray(picture).convert("L").convert("F")
    # With the gap it takes half the time: first boxes of pixels, three a side for each level.
    levels = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS, reducing_gap=3.0))
    bits = levels[:, 1:] > levels[:, :-1]
    if not FEWEST_EDGES <= bits.sum() <= bits.size - FEWEST_EDGES:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(
    hashes: Sequence[int | None], splits: Sequence[str], contents: Sequence[str]
) -> list[tuple[int, int]]:
    """Each sample that is near one of an earlier split, after the first such: pairs of rows.

    Samples of one content are no pair: they are duplicates, and told as such. Every sample is
    compared with every one of the earlier splits, in blocks: 10⁹ pairs take some seconds.
    """
    hashed = np.array([row for row, value in enumerate(hashes) if value is not None], np.int64)
    values = np.array([hashes[row] for row in hashed], np.uint64)
    kinds = np.unique(np.array(contents, str), return_inverse=True)[1][hashed]
    order = np.array([SPLITS.index(splits[row]) for row in hashed], np.int64)
    pairs = list[tuple[int, int]]()
    for split in range(1, len(SPLITS)):
        earlier, later = np.flatnonzero(order < split), np.flatnonzero(order == split)
        for start in range(0, len(later), BLOCK[0]):
            rows = later[start : start + BLOCK[0]]
            twins = _twins(values, kinds, earlier, rows)
            found = np.flatnonzero(twins >= 0)
            pairs += zip(hashed[twins[found]].tolist(), hashed[rows[found]].tolist(), strict=True)
    return sorted(pairs)


def _twins(
    values: np.ndarray, kinds: np.ndarray, earlier: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """For each of `rows` the first of `earlier` that is near it, −1 where there is none."""
    twins = np.full(len(rows), -1, np.int64)
    for start in range(0, len(earlier), BLOCK[1]):
        others = earlier[start : start + BLOCK[1]]
        near = np.bitwise_count(values[rows, None] ^ values[None, others]) <= MOST_BITS
        near &= kinds[rows, None] != kinds[None, others]
        found = near.any(axis=1) & (twins < 0)
        twins[found] = others[near[found].argmax(axis=1)]
    return twins
