"""What is wrong or odd with data that were read: what stops preparing, what is only counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runforge import near_duplicates
from runforge.errors import DataError
from runforge.notices import notice
from runforge.ordering import look_alikes, natural_order
from runforge.sample import SPLITS, Sample
from runforge.splitting import disagreeing, repeated
from runforge.wording import counted

SHOWN = 5
"""Examples that a message or the schema names."""

PARTICULAR = re.compile(r"'[^']*'|\d+(×\d+)?")


@dataclass(frozen=True, slots=True)
class Used:
    """The samples that can be used, row by row."""

    samples: Sequence[Sample]
    contents: Sequence[str]
    """Equal where what is learned from is equal."""
    splits: Sequence[str]
    alike: Sequence[str]
    """For each the content of the first sample that is packed to the same row: its own mostly."""
    ids: Sequence[str]
    """Of the samples as they lie there, not yet unique."""

    def given(self) -> list[str]:
        """The splits that the data give; what is left to us counts as training."""
        return [sample.split or "train" for sample in self.samples]

    def counts(self, labels: Sequence[str]) -> dict[str, dict[str, int]]:
        """Samples by split and label, where 0 too; `labels` are the ones to count."""
        found = Counter(zip(self.splits, (s.label for s in self.samples), strict=True))
        return {split: {label: found[split, label] for label in labels} for split in SPLITS}


def check_refused(samples: Sequence[Sample], reasons: Sequence[str | None], most: float) -> None:
    """Raises `DataError` where more than the share `most`, or all, are refused."""
    refused = [f"{s.where} ({r})" for s, r in zip(samples, reasons, strict=True) if r is not None]
    first = "; ".join(refused[:SHOWN])
    if len(refused) == len(samples):
        raise DataError(
            f"none of the {len(samples)} samples can be used, first: {first}",
            mend="check data.root, data.source and data.modality",
        )
    if len(refused) > most * len(samples):
        raise DataError(
            f"{len(refused)} of {len(samples)} samples are refused,"
            f" more than data.max_refused={most:g} of them, first: {first}",
            mend="mend or remove them, or raise data.max_refused",
        )


def check_leakage(root: Path, used: Used) -> None:
    """Raises `DataError` where the data give one content in two splits."""
    given = used.given()
    groups = disagreeing(used.contents, given)
    if groups:
        pairs = "; ".join(" = ".join(_pair(used, group, given)) for group in groups[:SHOWN])
        count = counted(len(groups), "content is", "contents are")
        raise DataError(
            f"{count} in more than one split, first: {pairs}",
            where=str(root),
            mend="remove them from one, or set `data.allow_leakage=true`",
        )


def contradicting(used: Used, values: Sequence[object]) -> dict[int, str]:
    """The rows whose inputs are the same as another's and whose values differ, with that other."""
    found = dict[int, str]()
    for group in disagreeing(used.alike, values):
        for row in group:
            other = next(o for o in group if values[o] != values[row])
            found[row] = used.samples[other].where
    return found


def conflict(root: Path, used: Used, found: Mapping[int, str]) -> DataError:
    """That samples contradict one another and may not."""
    pairs = [f"{used.samples[row].where} = {other}" for row, other in found.items()]
    return DataError(
        f"{len(found)} samples have the inputs of another one and another target, first:"
        f" {'; '.join(pairs[:SHOWN])}",
        where=str(root),
        mend="mend their labels, or set data.conflicting=drop (or =keep)",
    )


def tell(used: Used, values: Sequence[object], dropped: int) -> None:
    """Notices on samples that are packed alike: with different targets, or from different files."""
    if dropped:
        notice(
            f"{dropped} samples with the inputs of another one and another target are left out",
            hint="data.conflicting=keep takes them",
        )
    if found := contradicting(used, values):
        row, other = next(iter(found.items()))
        notice(
            f"{len(found)} samples have the inputs of another one and another target"
            f" ({used.samples[row].where} = {other}); they are kept",
            hint="data.conflicting=drop leaves them out, data.conflicting=refuse stops",
        )
    if groups := _packed_alike(used):
        apart = [group for group in groups if len({used.splits[row] for row in group}) > 1]
        first = apart[0] if apart else groups[0]
        shown = " = ".join(_pair(used, first, used.splits if apart else used.contents))
        across = f"; {len(apart)} in more than one split: the test flatters" if apart else ""
        notice(
            f"{len(groups)} groups of samples differ as they are read and are packed the same"
            f" ({shown}){across}",
            hint="remove all but one of each",
        )


def _packed_alike(used: Used) -> list[list[int]]:
    """Groups of samples that are packed the same though they are read from different contents."""
    return disagreeing(used.alike, used.contents)


def _pair(used: Used, group: Sequence[int], values: Sequence[object]) -> list[str]:
    """The first sample of a group, and the first one that differs from it in `values`."""
    other = next(row for row in group if values[row] != values[group[0]])
    return _names(used, (group[0], other))


def _names(used: Used, rows: Sequence[int]) -> list[str]:
    return [used.samples[row].where for row in rows]


def check_classes(root: Path, used: Used, classes: Sequence[str]) -> None:
    """Raises `DataError` where there is nothing to tell apart or nothing to learn a class from."""
    if len(classes) == 1:
        raise DataError(
            f"there is one class only ({classes[0]})", where=str(root), mend="add another class"
        )
    training = used.counts(classes)["train"]
    missing = [name for name in classes if training[name] == 0]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise DataError(
            f"no training sample of the class {', '.join(map(repr, missing[:SHOWN]))}{more}",
            where=str(root),
            mend="add samples of it, remove it, or change data.split.salt",
        )


def check_splits(root: Path, used: Used, shares: Mapping[str, float]) -> None:
    """Raises `DataError` where a split is empty; `shares` are the ones asked for."""
    counts = Counter(used.splits)
    for split in SPLITS:
        if counts[split] == 0:
            given = any(sample.split == split for sample in used.samples)
            why = f"no one of {len(used.samples)} samples fell into it"
            if not given and shares.get(split) == 0:
                why = f"data.split.{split}=0 and the data do not give it"
            raise DataError(
                f"the {split} split is empty: {why}",
                where=str(root),
                mend=f"raise data.split.{split} or add samples"
                if split != "train"
                else "add samples",
            )


def near_pairs(used: Used, gists: Sequence[int | None]) -> list[tuple[int, int]] | None:
    """Rows that show nearly the same in two splits; None where no one has a gist to tell it by."""
    if all(gist is None for gist in gists):
        return None
    return near_duplicates.near_pairs(gists, used.splits, used.contents)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What was seen while the samples were read."""

    reasons: Sequence[str | None]
    """Why each sample was refused; None where it was not."""
    remarks: Mapping[str, int]
    """What the modality said of samples that it decoded, and of how many."""
    near: Sequence[tuple[int, int]] | None
    """Rows that show nearly the same in two splits; None: no one can be told by a hash."""
    dropped: int = 0
    """Samples that are left out because their targets contradict one another."""


def report(
    used: Used, targets: Sequence[float], classes: Sequence[str], noticed: Noticed
) -> dict[str, Any]:
    """The schema's `quality`: counts, each with a few examples by name."""
    given = used.given()
    conflicting, leaking = disagreeing(used.alike, targets), disagreeing(used.contents, given)
    alike = _packed_alike(used)
    kinds = Counter(_kind(reason) for reason in noticed.reasons if reason is not None)
    near = noticed.near
    return {
        "samples": len(noticed.reasons),
        "refused": kinds.total(),
        "refused_reasons": dict(kinds),
        "remarks": dict(noticed.remarks),
        "duplicated": sum(len(group) - 1 for group in repeated(used.contents)),
        "conflicting": len(conflicting),
        "conflicting_samples": [_pair(used, g, targets) for g in conflicting[:SHOWN]],
        "conflicting_dropped": noticed.dropped,
        "packed_alike": len(alike),
        "packed_alike_samples": [_pair(used, g, used.contents) for g in alike[:SHOWN]],
        "leaking": len(leaking),
        "leaking_samples": [_pair(used, g, given) for g in leaking[:SHOWN]],
        "near_duplicates": None if near is None else len(near),
        "near_duplicate_samples": [_names(used, pair) for pair in (near or ())[:SHOWN]],
        "look_alike_classes": look_alikes(classes),
        **(_balance(used.counts(classes)) if classes else {}),
    }


def _kind(reason: str) -> str:
    """A reason without what is different for each sample."""
    return PARTICULAR.sub("…", re.split(r": | \(", reason)[0])


def _balance(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """How uneven the training classes are, and which classes a split lacks."""
    training = counts["train"].values()
    absent = {split: [n for n, count in of.items() if not count] for split, of in counts.items()}
    return {
        "class_imbalance": max(training) / min(training),
        "absent_classes": {split: names for split, names in absent.items() if names},
    }


def class_names(samples: Sequence[Sample]) -> list[str]:
    """The classes, in the order of their indices: natural, over all labelled samples."""
    return natural_order(sample.label for sample in samples if sample.label)
