"""Predictions of several models brought to the samples that all of them were evaluated on.

N samples in common, C classes, K models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from runforge.predictions import Predictions


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """The same samples in the same order, with the same truth and the same classes."""

    predictions: tuple[Predictions, ...]
    """Of each model; none where no sample is common to all."""
    evaluated: tuple[int, ...]
    """How many samples each model was evaluated on."""
    shared: int
    """Samples that all were evaluated on, whether they are compared or not."""
    relabelled: tuple[str, ...]
    """Ids of shared samples whose target is not the same in all: they can't be compared."""
    not_finite: int
    """Shared samples that some model has no prediction of: they are not compared either."""
    same_classes: bool
    """Whether all know the same classes. Else the classes are those of all together, and only
    what follows from predicted classes can be compared."""

    @property
    def same_samples(self) -> bool:
        """Whether every sample of every model is compared."""
        count = len(self.predictions[0].ids) if self.predictions else 0
        return all(count == evaluated for evaluated in self.evaluated)


def common_samples(given: Sequence[Predictions]) -> Common:
    """Aligns the predictions of K models, all of classes or all of values."""
    same_classes = len({frozenset(one.classes) for one in given}) == 1
    classes = tuple(dict.fromkeys(name for one in given for name in one.classes))
    of_all = [_with_classes(one, classes) for one in given]
    index = [{identity: row for row, identity in enumerate(p.ids.tolist())} for p in of_all]
    shared = [one for one in of_all[0].ids.tolist() if all(one in rows for rows in index)]
    aligned = [
        _rows(one, np.array([rows[identity] for identity in shared], dtype=np.int64))
        for one, rows in zip(of_all, index, strict=True)
    ]
    equal = np.all([part.targets == aligned[0].targets for part in aligned], axis=0)
    finite = np.all([np.isfinite(part.values).all(axis=1) for part in aligned], axis=0)
    kept = np.flatnonzero(equal & finite)
    return Common(
        predictions=tuple(_whole(part, kept) for part in aligned) if len(kept) else (),
        evaluated=tuple(len(one.ids) for one in given),
        shared=len(shared),
        relabelled=tuple(aligned[0].ids[~equal].tolist()),
        not_finite=int(np.count_nonzero(~finite)),
        same_classes=same_classes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some rows of predictions, perhaps none, which `Predictions` would refuse."""

    source: Predictions
    ids: np.ndarray
    targets: np.ndarray
    values: np.ndarray


def _rows(given: Predictions, rows: np.ndarray) -> _Part:
    return _Part(given, given.ids[rows], given.targets[rows], given.values[rows])


def _whole(part: _Part, rows: np.ndarray) -> Predictions:
    return replace(
        part.source, ids=part.ids[rows], targets=part.targets[rows], values=part.values[rows]
    )


def _with_classes(given: Predictions, classes: tuple[str, ...]) -> Predictions:
    """The same answers with a column for each of `classes`: of one it does not know, all 0."""
    if given.classes == classes:
        return given
    place = np.array([classes.index(name) for name in given.classes])
    values = np.zeros((len(given.ids), len(classes)), given.values.dtype)
    values[:, place] = given.values
    lost = ~given.finite
    values[lost] = np.nan
    return replace(given, targets=place[given.targets], values=values, classes=classes)
