"""The best of several runs: by the validation figure, among runs that can be held together.

Two figures can be held against one another where they are the same metric of the same samples. A
run of an earlier version says neither which samples its validation split has nor what the weights
that it kept are worth on it: its prepared set's fingerprint and its last epoch must do, and the one
who asks is told so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runforge import selection
from runforge.tracking.finished import FINGERPRINT
from runforge.tracking.search import PRIMARY_METRIC, RunInfo
from runforge.wording import counted


@dataclass(frozen=True, slots=True)
class Score:
    """What a run is chosen by."""

    metric: str
    """`validation/accuracy`."""
    value: float
    lower_is_better: bool
    of_last_epoch: bool
    """True: an earlier version recorded it, for the last epoch and not for the one kept."""

    @property
    def rank(self) -> float:
        """The lower, the better."""
        return self.value if self.lower_is_better else -self.value

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4g}"


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that can be held against one another, the best first."""

    runs: tuple[RunInfo, ...]
    scores: Mapping[str, Score]
    """By run id."""

    @property
    def best(self) -> RunInfo:
        """Of runs that are as good, the one started first."""
        return self.runs[0]

    @property
    def score(self) -> Score:
        """That of the best."""
        return self.scores[self.best.run_id]

    @property
    def data_name(self) -> str:
        """What the data of the best are called."""
        return self.best.data_name

    def told(self) -> str:
        """The best, by what it is, and of how many."""
        many, first = len(self.runs), self.best
        of = f"the best of {many} runs on the same data" if many > 1 else "the only run on its data"
        named = f" ({self.data_name})" if self.data_name else ""
        old = sum(self.scores[run.run_id].of_last_epoch for run in self.runs)
        note = f"; {counted(old, 'run')} of an earlier version by the last epoch" if old else ""
        return f"run {first.run_id[:8]} ({first.name}): {self.score}, {of}{named}{note}"


def score(run: RunInfo) -> Score | None:
    """None where the run has no validation figure."""
    told, prefix = run.tags.get(selection.METRIC), selection.PREFIX
    named = told or run.tags.get(PRIMARY_METRIC, "")
    metric, _, direction = named.rpartition(":")
    name = metric.partition("/")[2]
    if not told:
        prefix = f"{selection.SPLIT}/"
    value = run.metrics.get(f"{prefix}{name}", math.nan)
    if not name or not math.isfinite(value):
        return None
    return Score(f"{selection.SPLIT}/{name}", value, direction == "min", of_last_epoch=not told)


def groups(runs: Iterable[RunInfo]) -> list[Group]:
    """Those that can be held together; in the order in which `runs` first name one of each.

    Runs without a validation figure, and those that say nothing of their data, are in none.
    """
    every = list(runs)
    data = _data_of(every)
    parts: dict[tuple[str, str, bool], list[RunInfo]] = {}
    scores = {run.run_id: found for run in every if (found := score(run)) is not None}
    for run in every:
        found, of = scores.get(run.run_id), data[run.run_id]
        if found is not None and of:
            parts.setdefault((of, found.metric, found.lower_is_better), []).append(run)
    return [_group(part, scores) for part in parts.values()]


def left_out(chosen: Group, every: Sequence[Group]) -> str:
    """Which runs were not asked, and what to call the best of them; empty where none was."""
    others = [group for group in every if group is not chosen]
    if not others:
        return ""
    count = sum(len(group.runs) for group in others)
    names = sorted({group.data_name for group in others} - {chosen.data_name, ""})
    how = ", ".join(f"`best:{name}`" for name in names) or "name one by its id"
    return f"left out: {counted(count, 'run')} on other data or by another metric ({how})"


def _group(runs: Sequence[RunInfo], scores: Mapping[str, Score]) -> Group:
    ranked = sorted(runs, key=lambda run: (scores[run.run_id].rank, run.started))
    return Group(tuple(ranked), {run.run_id: scores[run.run_id] for run in runs})


def _data_of(runs: Sequence[RunInfo]) -> dict[str, str]:
    """By run id what is equal for runs on the same data; empty where nothing is known of them."""
    prints = {run.run_id: run.tags.get(FINGERPRINT, "") for run in runs}
    told = {run.run_id: run.tags.get(selection.HELD_OUT, "") for run in runs}
    known = {prints[name]: held_out for name, held_out in told.items() if held_out}
    known.pop("", None)
    return {
        name: held_out or known.get(prints[name]) or prints[name] for name, held_out in told.items()
    }
