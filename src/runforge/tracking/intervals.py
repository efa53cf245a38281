"""The ends of the figures' intervals, which a run has in one tag.

As metrics of their own each would be a chart of a single bar beside those that are looked for. Who
reads a run finds them as `<name>_low` and `<name>_high` beside its metrics all the same, and so in
runs that were recorded before, which have them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

TAG = "runforge.intervals"
"""JSON: the metric's name → the ends of its 95% interval."""

LOW, HIGH = "_low", "_high"

Ends = dict[str, tuple[float, float]]


def apart(figures: Mapping[str, float]) -> tuple[dict[str, float], Ends]:
    """The figures without the ends of their intervals, and these."""
    whole = [n for n in figures if f"{n}{LOW}" in figures and f"{n}{HIGH}" in figures]
    ends = {name: (figures[f"{name}{LOW}"], figures[f"{name}{HIGH}"]) for name in whole}
    names = {f"{name}{end}" for name in whole for end in (LOW, HIGH)}
    return {name: value for name, value in figures.items() if name not in names}, ends


def text(ends: Mapping[str, Sequence[float]]) -> str:
    """The tag's value."""
    return json.dumps(dict(ends))


def ends_in(tags: Mapping[str, str]) -> Ends:
    """By metric; none where the run has no such tag, or it was altered to something else."""
    try:
        found = json.loads(tags.get(TAG, "{}"))
        return {name: (float(low), float(high)) for name, (low, high) in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def flat(ends: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """As `<name>_low` and `<name>_high`."""
    each = ((name, *pair) for name, pair in ends.items())
    return {f"{n}{end}": v for n, low, high in each for end, v in ((LOW, low), (HIGH, high))}
