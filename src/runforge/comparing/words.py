"""Whether a difference is more than chance, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from runforge.comparison import Compared
from runforge.metrics.balance import FEW
from runforge.metrics.common import Common
from runforge.metrics.paired import MCNEMAR, Difference, Pair, p_sign, visible
from runforge.wording import counted

SHARES = ("accuracy", "balanced_accuracy")
"""Where these disagree, a verdict on one of them alone misleads."""


def verdicts(
    runs: Sequence[Compared], pairs: Sequence[Pair], winner: int | None, common: Common
) -> tuple[str, ...]:
    """A sentence for each pair on the main metric, and one for all of more than two runs."""
    found = [" ".join(_of_pair(runs[p.first], runs[p.second], p, common)) for p in pairs]
    if len(pairs) > 1:
        return (*found, _of_all(runs, pairs, winner))
    return tuple(" ".join((told, *_visible(pairs[0], common))) for told in found)


def few_samples(common: Common) -> tuple[str, ...]:
    """What can be told at all, where few samples are compared."""
    count = len(common.predictions[0].ids) if common.predictions else FEW
    if count >= FEW:
        return ()
    told = f"Only {counted(count, 'sample')} can be compared"
    if not common.predictions[0].classes:
        return (f"{told}: too few for any test, so nothing can be concluded.",)
    known = (visible(told, count) for told in range(count + 1))
    least = min((one for one in known if one is not None), default=None)
    if least is None:
        return (f"{told}: whatever they answer, nothing can be concluded from so few.",)
    more = f"one gets at least {round(least * count)} more of them right ({least:.2f} of accuracy)"
    return (f"{told}: no two runs can be told apart unless {more}.",)


def _of_pair(first: Compared, second: Compared, pair: Pair, common: Common) -> Iterator[str]:
    """The main metric; why it is the one; what the other share of right answers says."""
    main, *rest = pair.differences
    best = {"first": (first, second), "second": (second, first)}
    name = _name(main)
    if main.first is None or main.second is None or main.difference is None:
        yield f"{first.letter} and {second.letter} can't be told apart: {name} is undefined."
        return
    if main.winner is not None:
        better, worse = (run.letter for run in best[main.winner])
        yield f"{better} is better than {worse} by more than chance: {name} {_numbers(main)}."
    else:
        what = f"The difference of {first.letter} and {second.letter}"
        known = "is no more than chance makes" if main.p_value is not None else "can't be judged"
        yield f"{what} {known}: {name} {_numbers(main)}."
    if main.metric == "balanced_accuracy":
        model = common.predictions[0]
        support = np.bincount(model.targets)
        share = f"{support.max() / support.sum():.1%}"
        of = f"{share} of the samples are of the class {model.classes[int(support.argmax())]!r}"
        yield f"Balanced accuracy decides, for {of}."
    other = next((one for one in rest if one.metric in SHARES), None)
    if main.metric in SHARES and other is not None and other.winner != main.winner:
        if other.winner is None:
            yield f"By {_name(other)} it is no more than chance: {_numbers(other)}."
        else:
            yield f"By {_name(other)} {best[other.winner][0].letter} is better: {_numbers(other)}."


def _visible(pair: Pair, common: Common) -> Iterator[str]:
    """How large a difference would have been told apart, where the test says so exactly."""
    main = pair.differences[0]
    if main.test != MCNEMAR or main.winner is not None:
        return
    one, other = (common.predictions[number] for number in (pair.first, pair.second))
    right = [model.predicted == model.targets for model in (one, other)]
    told = int(np.count_nonzero(right[0] != right[1]))
    least = visible(told, len(one.ids))
    verb = "is" if told == 1 else "are"
    so_many = f"{told} of the {len(one.ids)} samples {verb} right in one of them alone"
    if least is None:
        yield f"Only {so_many}: so few are never more than chance."
    else:
        yield f"As {so_many}, a difference from {least:.4f} on would be more."


def _numbers(found: Difference) -> str:
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f", 95% interval {found.low:+.4f} – {found.high:+.4f}"
    tested = found.test if found.p_value is None else f"{found.test}, p {p_sign(found.p_value)}"
    return (
        f"{found.first:.4f} and {found.second:.4f}"
        f" (difference {found.difference:+.4f}{interval}; {tested})"
    )


def _name(found: Difference) -> str:
    return found.metric.replace("_", " ")


def _of_all(runs: Sequence[Compared], pairs: Sequence[Pair], winner: int | None) -> str:
    told = f"after Holm's correction for {len(pairs)} pairs"
    if winner is None:
        return f"There is no winner: no run is better than every other {told}."
    return f"The winner is {runs[winner].letter}: better than every other {told}."
