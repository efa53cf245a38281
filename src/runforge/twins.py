"""Samples that are packed to the same bytes though what they were read from differs.

N rows. Two files of one picture may differ in compression or in what they say beside it, and two
pictures may become one where they are made small.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

MARKED_BYTES = 4096
"""Of a row, spread evenly, that its checksum is taken of: enough to tell, and soon done."""


def mark(row: np.ndarray) -> int:
    """A checksum: equal for equal rows, and seldom for others."""
    content = np.ascontiguousarray(row).reshape(-1).view(np.uint8)
    step = max(1, -(-len(content) // MARKED_BYTES))
    return zlib.crc32(np.ascontiguousarray(content[::step]).data)


def twins(rows: np.ndarray, marks: Sequence[int]) -> list[int]:
    """For each of the rows [N, ...] the first one that is equal to it, bit for bit: itself mostly.

    Only rows of one mark are compared.
    """
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for number, value in enumerate(marks):
        alike[value].append(number)
    first = list(range(len(marks)))
    for numbers in alike.values():
        if len(numbers) > 1:
            known = dict[bytes, int]()
            for number in numbers:
                first[number] = known.setdefault(rows[number].tobytes(), number)
    return first
