"""What two or more runs differ in, as values: what is printed, drawn, written and recorded.

K runs; the first is what the others are held against. C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from runforge.metrics.paired import Pair


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the runs."""

    letter: str
    """`A`, `B`, …, as the rest calls it."""
    run_id: str
    experiment_id: str
    name: str
    started: str

    def __str__(self) -> str:
        return f"{self.letter} {self.run_id[:8]} {self.name}"


@dataclass(frozen=True, slots=True)
class Changed:
    """A key, a package or a fact that is not the same in all runs; None: a run has it not."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Relabelled:
    """One sample that has another label, or lies in another split."""

    sample_id: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class DataChange:
    """The samples of one run against those of the first; only such as can be used."""

    fingerprints: tuple[str, str]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    relabelled: tuple[Relabelled, ...] = ()
    moved: tuple[Relabelled, ...] = ()
    """In another split."""
    note: str = ""
    """Why nothing is known of single samples; empty where it is."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each of these samples comes from, by id."""

    @property
    def same(self) -> bool:
        """Whether the prepared sets are equal to the last bit."""
        return self.fingerprints[0] == self.fingerprints[1]


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file of code or configuration; None: lines are not counted."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class CodeChange:
    """The code of one run, its uncommitted changes included, against that of the first."""

    states: tuple[str, str]
    """Commit, and whether something uncommitted was with it."""
    files: tuple[FileChange, ...] = ()
    notes: tuple[str, ...] = ()
    diff: str = ""
    """Empty where it was not asked for, or where git can't give it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A figure as a run recorded it, with its 95% interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A main figure of the runs, each over its own samples."""

    name: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample that one of two runs gets right and the other does not.

    Of values: one whose absolute error changed by much.
    """

    sample_id: str
    target: str
    first: str
    second: str
    """What each predicted."""


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """How the answers of one run differ from those of the first, on the samples in common."""

    second: int
    """Number of the run."""
    classes: tuple[str, ...]
    first_counts: np.ndarray
    second_counts: np.ndarray
    """Confusion matrices, int64 [C, C], rows are the truth; [0, 0] where the target is a value."""
    lost: tuple[Flip, ...]
    """From right to wrong; of values, the errors that grew most, the largest first."""
    won: tuple[Flip, ...]
    """From wrong to right; of values, the errors that shrank most."""

    @property
    def change(self) -> np.ndarray:
        """Samples more or fewer in each cell, int64 [C, C]."""
        return np.asarray(self.second_counts - self.first_counts)


@dataclass(frozen=True, slots=True)
class Samples:
    """What the runs were evaluated on, and what of it can be compared."""

    splits: tuple[str, ...]
    evaluated: tuple[int, ...]
    compared: int
    notes: tuple[str, ...]
    """Sentences on what is left out; none where all is compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everything that was found."""

    runs: tuple[Compared, ...]
    configuration: tuple[Changed, ...]
    data: tuple[DataChange, ...]
    """Of each run but the first, as are `code` and `moves`."""
    code: tuple[CodeChange, ...]
    environment: tuple[Changed, ...]
    metrics: tuple[Metric, ...]
    samples: Samples
    pairs: tuple[Pair, ...]
    """None where no sample is common."""
    moves: tuple[Moves, ...]
    winner: int | None
    verdicts: tuple[str, ...]
    """In words, one for each pair; then one for all, where there are more than two runs."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "runs": [asdict(run) for run in self.runs],
            "configuration": self._by_letter(self.configuration),
            "data": [asdict(change) | {"same": change.same} for change in self.data],
            "code": [asdict(change) for change in self.code],
            "environment": self._by_letter(self.environment),
            "metrics": {
                metric.name: {
                    run.letter: asdict(number)
                    for run, number in zip(self.runs, metric.numbers, strict=True)
                }
                for metric in self.metrics
            },
            "samples": asdict(self.samples),
            "pairs": [self._pair(pair) for pair in self.pairs],
            "confusion_change": [self._cells(move) for move in self.moves],
            "flips": [self._flips(move) for move in self.moves],
            "winner": None if self.winner is None else self.runs[self.winner].letter,
            "verdicts": list(self.verdicts),
        }

    def letters(self, pair: Pair) -> tuple[str, str]:
        """What the two runs of a pair are called."""
        return self.runs[pair.first].letter, self.runs[pair.second].letter

    def _by_letter(self, changes: tuple[Changed, ...]) -> dict[str, dict[str, str | None]]:
        letters = [run.letter for run in self.runs]
        return {one.name: dict(zip(letters, one.values, strict=True)) for one in changes}

    def _pair(self, pair: Pair) -> dict[str, Any]:
        first, second = self.letters(pair)
        named = {"first": first, "second": second, None: None}
        rows = [
            asdict(one) | {"difference": one.difference, "better_run": named[one.winner]}
            for one in pair.differences
        ]
        return {"first": first, "second": second, "differences": rows}

    def _cells(self, move: Moves) -> dict[str, Any]:
        return {
            "first": self.runs[0].letter,
            "second": self.runs[move.second].letter,
            "classes": list(move.classes),
            "change": move.change.tolist(),
        }

    def _flips(self, move: Moves) -> dict[str, Any]:
        return {
            "first": self.runs[0].letter,
            "second": self.runs[move.second].letter,
            "lost": [asdict(flip) for flip in move.lost],
            "won": [asdict(flip) for flip in move.won],
        }
