"""What a prepared set is: classes, shapes, statistics, counts, fingerprint (`schema.json`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import ConfigDict, with_config

from runforge.foreign import read_json, typed

FORMAT = 1

TargetKind = Literal["class", "value"]
Conflicting = Literal["keep", "drop", "refuse"]
Length = Annotated[int, Ge(1)]


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True, slots=True)
class Schema:
    """Everything that training, evaluation and prediction must know of the data."""

    modality: dict[str, Any]
    """The configuration node of the modality, `_target_` included."""
    layout: dict[str, Any]
    """What the modality needs to decode one more sample in the same way (plain JSON values)."""
    packed_shape: tuple[Length, ...]
    """Shape of one packed sample: [H, W, C] for an image, [F] for a row of a table."""
    packed_dtype: str
    """NumPy's name of the packed type, such as `uint8` or `float32`."""
    input_shape: tuple[Length, ...]
    """Shape of one input of the network: [C, H, W] for an image, [F] for a row of a table."""
    target_kind: TargetKind
    target_name: str
    classes: tuple[str, ...]
    """Class names in the order of their indices; empty where the target is a value."""
    statistics: dict[str, list[float]]
    """By name, taken from the training split only (mean, standard deviation, …)."""
    target_mean: float
    """Mean of the training targets, in their own unit; 0 for classes."""
    target_std: float
    """Standard deviation of the training targets (population); 1 for classes."""
    split_counts: dict[str, dict[str, int]]
    """Samples by split and class, `{"train": {"cat": 3}}`; the class is "" for a value."""
    quality: dict[str, Any] = field(default_factory=dict)
    """What preparing noticed: counts of refused, duplicated, conflicting and leaking samples."""
    notices: tuple[str, ...] = ()
    """What a person was told of the data, a line each. No part of the fingerprint."""
    source: dict[str, Any] = field(default_factory=dict)
    """The configuration node of the source: how more raw data are read (separator, what stands for
    a missing cell). No part of the fingerprint: the same data may be read in several ways."""
    fingerprint: str = ""
    """Hash of the manifest, the arrays and the rest of this schema: equal means the same data."""
    format: int = FORMAT

    def count(self, split: str) -> int:
        """Number of samples in a split."""
        return sum(self.split_counts.get(split, {}).values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Schema:
        """The inverse of `to_dict`; raises ValueError where a value has another type."""
        return typed(cls, values)

    def write(self, path: Path) -> None:
        """Writes `schema.json`, the same bytes for the same schema."""
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Schema:
        """Reads what `write` wrote; raises ValueError where it is none."""
        return cls.from_dict(read_json(path))
