"""Schedules: the factor on the learning rate at each step of the optimiser.

A schedule is called with the number of steps done so far and the number of all steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Ge, Gt, Le, Lt


class Schedule(Protocol):
    """Factor on the learning rate, in 0..1, at `step` in 0..`total_steps`."""

    def __call__(self, step: int, total_steps: int) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The learning rate as it is."""

    def __call__(self, step: int, total_steps: int) -> float:
        """Always 1."""
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """A linear rise over a share `warmup` of the steps, then half a cosine from 1 to `final`."""

    warmup: Annotated[float, Ge(0), Lt(1)]
    final: Annotated[float, Ge(0), Le(1)]

    def __call__(self, step: int, total_steps: int) -> float:
        """Factor of the step; never 0 while rising."""
        rising = round(self.warmup * total_steps)
        if step < rising:
            return (step + 1) / rising
        return _half_cosine(1.0, self.final, (step - rising) / max(total_steps - rising, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle:
    """Half a cosine from `start` to 1 over a share `warmup` of the steps, another to `final`."""

    warmup: Annotated[float, Gt(0), Lt(1)]
    start: Annotated[float, Gt(0), Le(1)]
    final: Annotated[float, Ge(0), Le(1)]

    def __call__(self, step: int, total_steps: int) -> float:
        """Factor of the step; 1 at the peak, `final` at the last step."""
        last = total_steps - 1
        peak = min(max(self.warmup * total_steps - 1, 0), last)
        if step < peak:
            return _half_cosine(self.start, 1.0, step / peak)
        return _half_cosine(1.0, self.final, (step - peak) / max(last - peak, 1))


def _half_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
