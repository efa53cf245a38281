"""What a run must hold to become the champion: each gate with its figures, held or not.

Nothing here reads or writes: what was found goes in, the gates come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runforge.metrics.common import common_samples
from runforge.metrics.figures import Confusion
from runforge.metrics.names import LOWER
from runforge.metrics.paired import Difference, pairs
from runforge.metrics.rates import class_rows
from runforge.metrics.together import confusion_counts
from runforge.predictions import Predictions
from runforge.settings import PromotionSettings
from runforge.wording import counted

NOT_WORSE = "not worse than the champion"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition, and what was found."""

    name: str
    holds: bool
    told: str
    """What was found, in half a sentence."""
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a run's model on one test set."""

    run_id: str
    numbers: Mapping[str, float]
    """Metrics by name, without their split."""
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of how a run was made."""

    git_commit: str | None
    changes_kept: bool
    """Its work tree was clean, or its changes were recorded whole."""
    data_hash: str | None
    reproduction: str | None
    """The verdict of `runforge reproduce`; None: it was never made again."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A champion of which nothing is left to hold a run against: its run or its files are gone."""

    run_id: str
    replace: bool
    """It is to be replaced all the same."""


def judge(
    candidate: Evidence,
    champion: Evidence | Lost | None,
    origin: Origin,
    export_difference: float,
    settings: PromotionSettings,
) -> tuple[Gate, ...]:
    """Every gate that the settings ask for, in the order of the page; without a champion fewer."""
    return (
        *_held_against(candidate, champion, settings),
        *_minimums(candidate, settings.minimums),
        *_calibration(candidate, settings.calibration_error),
        _export(export_difference, settings.tolerance),
        _lineage(origin),
        *_reproduced(origin, wanted=settings.reproduced),
    )


def _held_against(
    candidate: Evidence, champion: Evidence | Lost | None, settings: PromotionSettings
) -> Iterator[Gate]:
    if isinstance(champion, Evidence):
        yield from _against(candidate, champion, settings)
    elif champion is not None:
        told = f"can't be told, for the champion's run {champion.run_id[:8]} is gone: "
        told += "replaced as asked" if champion.replace else "--replace-champion takes its place"
        yield Gate(NOT_WORSE, champion.replace, told, {})


def comparable(one: Predictions, other: Predictions) -> bool:
    """Whether both are of the same samples, with the same truth and the same classes."""
    if bool(one.classes) != bool(other.classes):
        return False
    both = common_samples([one, other])
    return both.same_samples and both.same_classes


def _against(
    candidate: Evidence, champion: Evidence, settings: PromotionSettings
) -> Iterator[Gate]:
    both = common_samples([champion.predictions, candidate.predictions])
    yield Gate(
        "same test set",
        comparable(candidate.predictions, champion.predictions),
        f"{counted(both.shared, 'sample')} of both, {len(both.relabelled)} of them relabelled",
        {"samples": len(candidate.predictions.ids), "shared": both.shared},
    )
    found = pairs(both)
    if found:
        # The main metric, as `compare` has it: balanced accuracy where classes are imbalanced.
        yield _not_worse(found[0].differences[0], settings.significance)
    if candidate.predictions.classes and settings.recall_drop is not None:
        yield _recalls(candidate, champion, settings.recall_drop)


def _not_worse(found: Difference, significance: float) -> Gate:
    first, second, p_value = found.first, found.second, found.p_value
    if first is None or second is None:
        return Gate(NOT_WORSE, False, f"{found.metric} is undefined", {})
    worse = (second < first) if found.better == "higher" else (second > first)
    told = f"{found.metric} {second:.4f} against {first:.4f}"
    figures = {"value": second, "champion": first}
    if p_value is None:
        return Gate(NOT_WORSE, not worse, f"{told} ({found.test})", figures)
    told, figures = f"{told}, p = {p_value:.3g} ({found.test})", figures | {"p_value": p_value}
    return Gate(NOT_WORSE, not (worse and p_value <= significance), told, figures)


def _recalls(candidate: Evidence, champion: Evidence, drop: float) -> Gate:
    before, after = _recall_by_class(champion.predictions), _recall_by_class(candidate.predictions)
    lost = {name: before[name] - after[name] for name in before.keys() & after.keys()}
    worst = max(sorted(lost), key=lambda name: lost[name], default=None)
    if worst is None:
        return Gate("recall of every class", False, "no class in common", {})
    told = f"{worst!r} {after[worst]:.4f} against {before[worst]:.4f}, at most {drop:g} lower"
    figures = {"largest_drop": lost[worst], "allowed": drop}
    return Gate("recall of every class", lost[worst] <= drop, told, figures)


def _recall_by_class(predictions: Predictions) -> dict[str, float]:
    confusion = Confusion(predictions.classes, confusion_counts(predictions))
    return {row.name: row.recall for row in class_rows(confusion) if row.recall is not None}


def _minimums(candidate: Evidence, minimums: Mapping[str, float]) -> Iterator[Gate]:
    for name, bound in minimums.items():
        lower = name in LOWER
        word = "at most" if lower else "at least"
        value = candidate.numbers.get(name)
        if value is None:
            yield Gate(f"{name} {word} {bound:g}", False, "the run has no such figure", {})
            continue
        holds = value <= bound if lower else value >= bound
        figures = {"value": value, "bound": bound}
        yield Gate(f"{name} {word} {bound:g}", holds, f"{value:.4f}", figures)


def _calibration(candidate: Evidence, bound: float | None) -> Iterator[Gate]:
    if bound is not None and candidate.predictions.classes:
        yield from _minimums(candidate, {"calibration_error": bound})


def _export(difference: float, tolerance: float) -> Gate:
    told = f"they differ by {difference:.2g} at most"
    figures = {"difference": difference, "tolerance": tolerance}
    return Gate("the exported model predicts the same", difference <= tolerance, told, figures)


def _lineage(origin: Origin) -> Gate:
    lacks = [
        what
        for what, there in (
            ("its commit", origin.git_commit is not None),
            ("all of its uncommitted changes", origin.changes_kept),
            ("DVC's hash of its data (`dvc add` them, then train)", origin.data_hash is not None),
        )
        if not there
    ]
    told = f"the run lacks {', '.join(lacks)}" if lacks else "commit, changes and data are recorded"
    return Gate("lineage is complete", not lacks, told, {})


def _reproduced(origin: Origin, *, wanted: bool) -> Iterator[Gate]:
    if wanted:
        told = origin.reproduction or "never made again: `runforge reproduce`"
        yield Gate("made again with the same numbers", origin.reproduction == "identical", told, {})
