"""Sizes of batches that were tried, and which of them to take."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

MARGIN = 0.1
"""Of the memory, that is to be left."""

GRANULARITY = 8
"""The largest that fits is found up to one part in so many."""

UNSEEN = 2
"""So many sizes, the smallest ones, are tried before a slope can be told."""

HANDED_OVER = "batch sizes"
"""The name under which the step `size` hands them to the driver."""

COLUMNS = ("batch size", "ms a step", "samples/s", "memory, MB", "")
"""Of the table of what was tried."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class SizeTried:
    """A global batch size; without figures where it was too large to be tried to the end."""

    size: int
    peak_bytes: int
    """The most memory that its training took; of one that was not tried, what it would take."""
    fits: bool
    rate: float | None = None
    """Samples a second."""
    why: str = ""
    """Why it does not fit."""

    def cells(self) -> tuple[str, str, str, str, str]:
        """As a table shows it."""
        times = ("–", "–")
        if self.rate:
            times = (f"{self.size / self.rate * 1000:.4g}", f"{self.rate:,.0f}")
        memory = f"{self.peak_bytes / 1e6:,.0f}" if self.peak_bytes else "–"
        return (str(self.size), *times, memory, self.why)


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Every size that came into question, in the order in which it did."""

    limit_bytes: int
    samples: int
    """Of the training split: no batch holds more."""
    tried: tuple[SizeTried, ...]

    @property
    def largest(self) -> int | None:
        """The largest that fits and leaves the margin; None: not even the smallest does."""
        return max((one.size for one in self.tried if one.fits), default=None)

    @property
    def fastest(self) -> SizeTried | None:
        """Of those that fit."""
        return max((t for t in self.tried if t.fits), key=lambda t: t.rate or 0.0, default=None)

    def to_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> BatchSizes:
        """The inverse of `to_text`."""
        found = json.loads(text)
        return cls(**{**found, "tried": tuple(SizeTried(**one) for one in found["tried"])})


def predicted_bytes(tried: list[SizeTried], size: int) -> int:
    """What a size will take by those that were tried: along the steeper of two straight lines.

    One from the size before the last, one from the first.
    """
    last = tried[-1]
    others = [one for one in (tried[0], tried[-2]) if one.size < last.size]
    slopes = [(last.peak_bytes - one.peak_bytes) / (last.size - one.size) for one in others]
    return last.peak_bytes + int(max(0.0, *slopes) * (size - last.size))


def memory_bytes(text: str) -> int:
    """Bytes in `512MB`, `1.5GB`, `2e9`; raises ValueError.

    >>> memory_bytes("1.5GB")
    1500000000
    """
    found = re.fullmatch(
        r"([0-9]+\.?[0-9]*(?:e[0-9]+)?)\s*([KMGT]?)I?B?", text.strip().upper().replace("E", "e")
    )
    if found is None or not 0 < float(found[1]) * _UNITS[found[2]] < 2**63:
        raise ValueError(f"{text} is no amount of memory")
    return int(float(found[1]) * _UNITS[found[2]])
