"""Two runs held against one another, from what the store has of them: the same, or how near."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file

from runforge import bundle_file
from runforge.bundle_file import DESCRIPTION, WEIGHTS
from runforge.metrics.together import confusion_counts
from runforge.predictions import Predictions
from runforge.tracking.artifacts import BUNDLE, PREDICTIONS, fetch_file
from runforge.tracking.search import RunInfo
from runforge.tracking.store import Store
from runforge.tracking.values import Values, metric_values
from runforge.wording import counted

State = Literal["identical", "near", "different", "missing"]

ABSOLUTE, RELATIVE = 1e-5, 1e-3
"""Near is what differs by at most ABSOLUTE + RELATIVE × the value: other kernels, or sums in
another order, carried through a training; a wrong setting moves figures by more."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared."""

    name: str
    state: State
    text: str = ""
    largest: float | None = None
    """The largest difference."""
    first: str | None = None
    """Where a difference came first: step and metric."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The run and the one that was made after it, each with a folder for what is fetched."""

    store: Store
    was: RunInfo
    now: RunInfo
    folder: Path

    def fetched(self, name: str) -> tuple[Path | None, Path | None]:
        """An artifact file of both."""
        first, second = (
            fetch_file(self.store, run.run_id, name, self.folder / run.run_id)
            for run in (self.was, self.now)
        )
        return first, second


def compare(pair: Pair) -> tuple[Check, ...]:
    """Every check, in the order in which a run does what they are about."""
    was, now = (
        metric_values(pair.store, run, pair.folder / run.run_id) for run in (pair.was, pair.now)
    )
    return (
        _tags("data fingerprint", pair, "runforge.data_fingerprint"),
        _tags("initial weights", pair, "runforge.initial_weights"),
        metrics(was, now),
        _final_weights(pair),
        *_predictions(pair),
    )


def _tags(name: str, pair: Pair, tag: str) -> Check:
    was, now = pair.was.tags.get(tag), pair.now.tags.get(tag)
    if was is None or now is None:
        return Check(name, "missing", "not recorded")
    return Check(name, "identical") if was == now else Check(name, "different", f"{was} → {now}")


def metrics(was: Values, now: Values) -> Check:
    """The values of each metric at every step at which either run logged it."""
    name, keys = "metrics of every step", _keys(was, now)
    odd = [key for key in keys if not _same(_at(was, key), _at(now, key))]
    if not odd:
        return Check(name, "identical", counted(len(keys), "value"))
    step, metric = odd[0]
    first = f"evaluation, {metric}" if step == math.inf else f"step {int(step)}, {metric}"
    lost = [key for key in odd if _at(was, key) is None or _at(now, key) is None]
    pairs = [(_at(was, key), _at(now, key)) for key in odd if key not in lost]
    largest = max((_distance(a, b) for a, b in pairs), default=None)
    near = not lost and all(_is_near(a, b) for a, b in pairs)
    text = f"{len(odd)} of {len(keys)} values differ"
    text += f", {len(lost)} of them logged by one run only" if lost else ""
    return Check(name, "near" if near else "different", text, largest, first)


def _keys(was: Values, now: Values) -> list[tuple[float, str]]:
    """Steps and names in the order in which a run logs them.

    Figures of the evaluation stand at step 0, and come last.
    """
    found = {(name, step) for values in (was, now) for name in values for step in values[name]}
    return sorted((math.inf if step == 0 else float(step), name) for name, step in found)


def _at(values: Values, key: tuple[float, str]) -> float | None:
    step, name = key
    return values.get(name, {}).get(0 if step == math.inf else int(step))


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _distance(a: float | None, b: float | None) -> float:
    assert a is not None and b is not None
    distance = abs(a - b)
    return math.inf if math.isnan(distance) else distance


def _is_near(a: float | None, b: float | None) -> bool:
    assert a is not None and b is not None
    return _distance(a, b) <= ABSOLUTE + RELATIVE * abs(a)


def _final_weights(pair: Pair) -> Check:
    name = "final weights"
    described = pair.fetched(f"{BUNDLE}/{DESCRIPTION}")
    if None in described:
        return Check(name, "missing", "a run has no bundle")
    hashes = [bundle_file.read(path.parent).weights_hash for path in described if path]
    if hashes[0] == hashes[1]:
        return Check(name, "identical")
    was, now = (load_file(path) for path in pair.fetched(f"{BUNDLE}/{WEIGHTS}") if path)
    return weights(was, now)


def weights(was: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]) -> Check:
    """Weights by name; those of another network are different, however near."""
    name = "final weights"
    shapes = [{n: (w.shape, str(w.dtype)) for n, w in one.items()} for one in (was, now)]
    if shapes[0] != shapes[1]:
        return Check(name, "different", "the networks have other weights")
    return _arrays(name, {n: (was[n], now[n]) for n in sorted(was)})


def _arrays(name: str, pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Check:
    """The largest difference, and the first of the arrays that has one."""
    apart = {n: np.abs(np.float64(a) - np.float64(b)) for n, (a, b) in pairs.items()}
    odd = [n for n, (a, b) in pairs.items() if not np.array_equal(a, b, equal_nan=True)]
    if not odd:
        return Check(name, "identical")
    near = all(
        bool((apart[n] <= ABSOLUTE + RELATIVE * max(1.0, np.abs(pairs[n][0]).max())).all())
        for n in odd
    )
    largest = max(float(np.max(apart[n])) for n in odd)
    return Check(name, "near" if near else "different", f"first in {odd[0]}", largest)


def _predictions(pair: Pair) -> tuple[Check, ...]:
    was, now = pair.fetched(PREDICTIONS)
    if was is None and now is None:
        return ()
    if was is None or now is None:
        return (Check("predictions", "missing", "a run has none"),)
    return predictions(Predictions.read(was), Predictions.read(now))


def predictions(was: Predictions, now: Predictions) -> tuple[Check, ...]:
    """Predictions by sample id, and the confusion matrix where there are classes."""
    ids = [dict(zip(one.ids.tolist(), range(len(one.ids)), strict=True)) for one in (was, now)]
    only = ids[0].keys() ^ ids[1].keys()
    if only or was.classes != now.classes or was.split != now.split:
        text = (
            f"{counted(len(only), 'sample is', 'samples are')} in one of them only"
            if only
            else "other classes or split"
        )
        found = [Check("predictions", "different", text)]
    else:
        order = [ids[1][one] for one in was.ids.tolist()]
        odd = ~(was.values == now.values[order]).all(axis=1)
        check = _arrays("predictions", {"outputs": (was.values, now.values[order])})
        text = (
            f"{int(odd.sum())} of {len(odd)} samples differ"
            if odd.any()
            else counted(len(odd), "sample")
        )
        found = [Check("predictions", check.state, text, check.largest)]
    if was.classes and now.classes:
        found.append(_confusion(was, now))
    return tuple(found)


def _confusion(was: Predictions, now: Predictions) -> Check:
    """Of samples that have a prediction, which an evaluation that ended gives to each."""
    name, finite = "confusion matrix", (was.only_finite(), now.only_finite())
    if was.classes != now.classes or finite[0] is None or finite[1] is None:
        return Check(name, "different", "other classes, or no predictions")
    counts = [confusion_counts(one) for one in finite if one]
    odd = np.argwhere(counts[0] != counts[1])
    if not len(odd):
        return Check(name, "identical")
    actual, predicted = (int(code) for code in odd[0])
    text = counted(len(odd), "cell differs", "cells differ")
    text += f", first {was.classes[actual]} taken for {was.classes[predicted]}"
    text += f": {counts[0][actual, predicted]} → {counts[1][actual, predicted]}"
    return Check(name, "different", text)
