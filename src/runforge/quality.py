"""What is wrong or odd with data that were read: what stops preparing, what is only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runforge.errors import DataError
from runforge.ordering import look_alikes, natural_order
from runforge.sample import SPLITS, Sample
from runforge.splitting import disagreeing, repeated

SHOWN = 5
"""Examples that a message or the schema names."""


@dataclass(frozen=True, slots=True)
class Used:
    """The samples that can be used, row by row."""

    samples: Sequence[Sample]
    contents: Sequence[str]
    splits: Sequence[str]

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
        raise DataError(
            f"{len(groups)} contents are in more than one split, first: {pairs}",
            where=str(root),
            mend="remove them from one, or set data.allow_leakage=true",
        )


def _pair(used: Used, group: Sequence[int], values: Sequence[object]) -> list[str]:
    """The first sample of a group, and the first one that differs from it in `values`."""
    other = next(row for row in group if values[row] != values[group[0]])
    return [used.samples[row].where for row in (group[0], other)]


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


def report(
    used: Used, reasons: Sequence[str | None], targets: Sequence[float], classes: Sequence[str]
) -> dict[str, Any]:
    """The schema's `quality`: counts, each with a few examples by name."""
    given = used.given()
    conflicting, leaking = (disagreeing(used.contents, values) for values in (targets, given))
    return {
        "samples": len(reasons),
        "refused": sum(reason is not None for reason in reasons),
        "duplicated": sum(len(group) - 1 for group in repeated(used.contents)),
        "conflicting": len(conflicting),
        "conflicting_samples": [_pair(used, g, targets) for g in conflicting[:SHOWN]],
        "leaking": len(leaking),
        "leaking_samples": [_pair(used, g, given) for g in leaking[:SHOWN]],
        "look_alike_classes": look_alikes(classes),
    }


def class_names(samples: Sequence[Sample]) -> list[str]:
    """The classes, in the order of their indices: natural, over all labelled samples."""
    return natural_order(sample.label for sample in samples if sample.label)
