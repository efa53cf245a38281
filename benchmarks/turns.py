"""Works that are measured in turns, A B C A B C, and the table of what was found."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Found = dict[str, list[float]]
"""By the name of a work: what was measured, round by round."""


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    measured: Callable[[Callable[[], object]], float] = seconds,
) -> Found:
    """Every work once in each round, after one round that does not count."""
    found: Found = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            value = measured(work)
            if number:
                found[name].append(value)
    return found


def ratio(found: Mapping[str, Sequence[float]], over: str, under: str) -> float:
    """The median of the rounds' ratios: what slows a whole round down falls out."""
    pairs = zip(found[over], found[under], strict=True)
    return statistics.median(one / other for one, other in pairs)


def show(title: str, found: Mapping[str, Sequence[float]], unit: str, beside: str) -> None:
    """A row for each work: minimum, median, maximum, and its ratio to the work `beside`."""
    print(f"\n{title}\n| | minimum | median | maximum | {unit}, × {beside} |", file=sys.stderr)
    print("|---|---|---|---|---|", file=sys.stderr)
    for name, values in found.items():
        told = (min(values), statistics.median(values), max(values), ratio(found, name, beside))
        print(f"| {name} | {' | '.join(f'{v:,.3g}' for v in told)} |", file=sys.stderr, flush=True)
