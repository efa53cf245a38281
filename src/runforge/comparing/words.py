"""Whether a difference is more than chance, in words."""

from __future__ import annotations

from collections.abc import Sequence

from runforge.comparison import Compared
from runforge.metrics.paired import Difference, Pair


def verdicts(
    runs: Sequence[Compared], pairs: Sequence[Pair], winner: int | None
) -> tuple[str, ...]:
    """A sentence for each pair on the main metric, and one for all of more than two runs."""
    found = [_of_pair(runs[p.first], runs[p.second], p.differences[0]) for p in pairs]
    if len(pairs) > 1:
        found.append(_of_all(runs, pairs, winner))
    return tuple(found)


def p_text(p_value: float | None) -> str:
    """A p-value as a person reads it; a dash where there is none."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _of_pair(first: Compared, second: Compared, found: Difference) -> str:
    name = found.metric.replace("_", " ")
    if found.first is None or found.second is None or found.difference is None:
        return f"{first.letter} and {second.letter} can't be told apart: {name} is undefined."
    sign = "=" if p_text(found.p_value)[0].isdigit() else ""
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f", 95% interval {found.low:+.4f} – {found.high:+.4f}"
    numbers = (
        f"{name} {found.first:.4f} and {found.second:.4f} (difference {found.difference:+.4f}"
        f"{interval}; {found.test}, p {sign} {p_text(found.p_value)})".replace("p  ", "p ")
    )
    if found.winner is None:
        what = f"The difference of {first.letter} and {second.letter} is no more than chance makes"
        return f"{what}: {numbers}."
    best, other = (first, second) if found.winner == "first" else (second, first)
    return f"{best.letter} is better than {other.letter} by more than chance: {numbers}."


def _of_all(runs: Sequence[Compared], pairs: Sequence[Pair], winner: int | None) -> str:
    told = f"after Holm's correction for {len(pairs)} pairs"
    if winner is None:
        return f"There is no winner: no run is better than every other {told}."
    return f"The winner is {runs[winner].letter}: better than every other {told}."
