"""What the runs answered on the samples that they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runforge.comparing.words import few_samples
from runforge.comparison import Compared, Flip, Moves, Samples
from runforge.metrics.common import Common
from runforge.metrics.together import confusion_counts
from runforge.predictions import Predictions

MOST_VALUES = 30
"""Samples whose errors grew or shrank most, that are named where the target is a value."""

_NAMED = 3
"""Ids that a sentence names."""


def described(runs: Sequence[Compared], given: Sequence[Predictions], common: Common) -> Samples:
    """Which samples are compared, and why others are not."""
    compared = len(common.predictions[0].ids) if common.predictions else 0
    notes = [_extent(runs, common, compared)] if not common.same_samples else []
    if common.relabelled:
        named = ", ".join(common.relabelled[:_NAMED])
        more = ", …" if len(common.relabelled) > _NAMED else ""
        count = len(common.relabelled)
        notes.append(f"{count} of them have another target in some run: {named}{more}.")
    if common.not_finite:
        notes.append(f"{common.not_finite} of them have no prediction in some run.")
    if not common.same_classes:
        lists = "; ".join(
            f"{r.letter}: {', '.join(p.classes)}" for r, p in zip(runs, given, strict=True)
        )
        notes.append(
            f"The classes differ ({lists}): only what follows from predicted classes is compared."
        )
    splits = tuple(one.split for one in given)
    if len(set(splits)) > 1:
        notes.append(f"The splits differ: {', '.join(splits)}.")
    return Samples(splits, common.evaluated, compared, (*notes, *few_samples(common)))


def _extent(runs: Sequence[Compared], common: Common, compared: int) -> str:
    pairs = zip(runs, common.evaluated, strict=True)
    counts = ", ".join(f"{run.letter} {count}" for run, count in pairs)
    if not common.shared:
        return f"The runs have no sample in common ({counts}): no test can tell them apart."
    return (
        f"The samples differ ({counts}); {common.shared} are common, and {compared} are compared."
    )


def moves(common: Common) -> tuple[Moves, ...]:
    """Of each run but the first, how its answers differ from the first's."""
    if not common.predictions:
        return ()
    first, *others = common.predictions
    made = _class_moves if first.classes else _value_moves
    return tuple(made(number, first, other) for number, other in enumerate(others, 1))


def _class_moves(number: int, first: Predictions, other: Predictions) -> Moves:
    was, now = first.predicted == first.targets, other.predicted == first.targets

    def flips(rows: np.ndarray) -> tuple[Flip, ...]:
        names = first.classes
        return tuple(
            Flip(
                str(first.ids[row]),
                names[first.targets[row]],
                names[first.predicted[row]],
                names[other.predicted[row]],
            )
            for row in np.flatnonzero(rows).tolist()
        )

    return Moves(
        second=number,
        classes=first.classes,
        first_counts=confusion_counts(first),
        second_counts=confusion_counts(other),
        lost=flips(was & ~now),
        won=flips(now & ~was),
    )


def _value_moves(number: int, first: Predictions, other: Predictions) -> Moves:
    grown = np.abs(first.targets - other.predicted) - np.abs(first.targets - first.predicted)
    order = np.argsort(-grown, kind="stable")

    def flips(rows: np.ndarray) -> tuple[Flip, ...]:
        return tuple(
            Flip(
                str(first.ids[row]),
                *(f"{p[row]:.5g}" for p in (first.targets, first.predicted, other.predicted)),
            )
            for row in rows[:MOST_VALUES].tolist()
        )

    none = np.zeros((0, 0), dtype=np.int64)
    return Moves(
        second=number,
        classes=(),
        first_counts=none,
        second_counts=none,
        lost=flips(order[grown[order] > 0]),
        won=flips(order[::-1][grown[order[::-1]] < 0]),
    )
