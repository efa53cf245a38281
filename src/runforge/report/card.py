"""`model_card.md`: what a registered model is for, what it can do, where it fails, where from.

Names of classes and runs come from outside: what Markdown or HTML would take for markup is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runforge.metrics.together import confusion_counts
from runforge.predictions import Predictions
from runforge.report.template import number, template
from runforge.schema import Schema

MOST_CLASSES = 20
"""Classes of which the card shows the whole confusion matrix."""
MOST_FAILURES = 5
ORIGIN = ("git_commit", "git_dirty", "patch", "data_dvc_hash", "command", "python", "cpu", "gpus")
"""Tags of the run that say where it comes from."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The run that the card is of."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    numbers: Mapping[str, float]
    """Its metrics, without their split."""
    predictions: Predictions
    schema: Schema


class Condition(Protocol):
    """One gate."""

    @property
    def name(self) -> str: ...
    @property
    def holds(self) -> bool: ...
    @property
    def told(self) -> str: ...


class Decided(Protocol):
    """What was decided on it."""

    @property
    def promoted(self) -> bool: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def champion(self) -> str | None: ...
    @property
    def gates(self) -> Sequence[Condition]: ...


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure as text."""

    name: str
    value: str
    interval: str


def card(subject: Subject, decision: Decided) -> str:
    """The card's Markdown; the same parts give the same text."""
    counts = _counts(subject)
    classes = subject.schema.classes
    shown = [] if counts is None or len(classes) > MOST_CLASSES else counts.tolist()
    origin = [(name, subject.tags.get(f"runforge.{name}", "unknown")) for name in ORIGIN]
    filters = {"text": _text, "shortened": _shortened}
    return template("card.md.j2", filters=filters).render(
        subject=subject,
        decision=decision,
        schema=subject.schema,
        samples=len(subject.predictions.ids),
        quality=_quality(subject.schema),
        figures=list(_figures(subject.numbers)),
        confusion=list(zip(classes, shown, strict=False)),
        failures=list(_failures(classes, counts)) if counts is not None else [],
        lineage=origin,
    )


def _counts(subject: Subject) -> np.ndarray | None:
    """int64 [C, C]: rows are the truth; None where there are no classes."""
    predictions = subject.predictions.only_finite()
    if predictions is None or not predictions.classes:
        return None
    return confusion_counts(predictions)


def _figures(numbers: Mapping[str, float]) -> Iterator[FigureRow]:
    for name, value in numbers.items():
        if name.endswith(("_low", "_high")):
            continue
        low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
        known = low is not None and high is not None
        yield FigureRow(name, number(value), f"{number(low)} – {number(high)}" if known else "–")


def _quality(schema: Schema) -> str:
    counted = (name for name in ("refused", "duplicated") if name in schema.quality)
    told = [f"{schema.quality[name]} {name}" for name in counted]
    return f"When it was prepared: {', '.join(told)}" if told else "Nothing odd was noticed"


def _failures(classes: Sequence[str], counts: np.ndarray) -> Iterator[str]:
    """The pairs that are taken for each other most often."""
    wrong = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:MOST_FAILURES]:
        true, taken = divmod(int(flat), len(classes))
        if wrong[true, taken]:
            of = f"{int(wrong[true, taken])} of {int(counts[true].sum())}"
            yield f"{of} of {_text(classes[true])} are taken for {_text(classes[taken])}"


def _text(value: object) -> str:
    """Without markup: every letter that Markdown or HTML may take for some is escaped."""
    plain = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~>-])", r"\\\1", plain)


def _shortened(classes: Sequence[str]) -> str:
    shown, more = (
        ", ".join(_text(name) for name in classes[:MOST_CLASSES]),
        len(classes) - MOST_CLASSES,
    )
    return f"{shown} and {more} more" if more > 0 else shown
