"""What the tasks that learn classes share: their check, their weights, their metrics.

B samples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from runforge.errors import ConfigError, DataError
from runforge.schema import Schema
from runforge.wording import counted

ClassWeights = Literal["balanced"] | Sequence[float] | None


def check_classes(schema: Schema, task: str) -> int:
    """The number of classes; raises `ConfigError` for a value, `DataError` for too few."""
    if schema.target_kind != "class":
        what = f"task={task} learns classes, but the target {schema.target_name!r} is a value"
        raise ConfigError(what, where="task", mend="take `task=regression`")
    if len(schema.classes) < 2:
        there = counted(len(schema.classes), "class", "classes")
        what = f"the data have {there}, and it takes two to tell apart"
        raise DataError(what, where=f"target {schema.target_name!r}", mend="add another class")
    return len(schema.classes)


def class_weight_tensor(class_weights: ClassWeights, schema: Schema) -> Tensor | None:
    """The weight of each class [C]: none, as given, or `balanced`: n / (C · n of it)."""
    count = len(schema.classes)
    if class_weights is None:
        return None
    if class_weights == "balanced":
        return _balanced(schema)
    if len(class_weights) != count:
        what = f"{counted(len(class_weights), 'weight')} for {count} classes"
        mend = f"give one for each of {', '.join(schema.classes)}"
        raise ConfigError(what, where="task.class_weights", mend=mend)
    return torch.tensor(list(class_weights), dtype=torch.float32)


def _balanced(schema: Schema) -> Tensor:
    counts = [schema.split_counts["train"].get(name, 0) for name in schema.classes]
    if 0 in counts:
        absent = ", ".join(n for n, c in zip(schema.classes, counts, strict=True) if c == 0)
        what = f"no training samples of {absent} to balance"
        raise ConfigError(what, where="task.class_weights", mend="give weights, or null")
    return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))


def usual_class(schema: Schema) -> int | None:
    """The class that most training samples are of, the first of equals; None: there are none."""
    counts = [schema.split_counts.get("train", {}).get(name, 0) for name in schema.classes]
    return counts.index(max(counts)) if any(counts) else None


def classification_metrics(class_count: int) -> MetricCollection:
    """`accuracy` and `f1_macro`, updated with (answers or probabilities, targets [B])."""
    # Checking its arguments would wait for the device at every step.
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(class_count, average="micro", validate_args=False),
            "f1_macro": MulticlassF1Score(class_count, average="macro", validate_args=False),
        }
    )
