"""The shape of a composed configuration: every key, its type and its range.

Hydra composes; these models check the result. The nodes of interchangeable parts (`Node`) are
checked against the constructor that they name, see `signature`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field

from runforge.sample import SPLITS
from runforge.schema import Conflicting, TargetKind

Share = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A part of the configuration: no key but the ones listed, no value converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Node(Part):
    """The node of an interchangeable part; the rest of its keys is its constructor's business."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    target: Annotated[str, Field(alias="_target_")]


class OptimizerNode(Node):
    """An optimiser; `learning_rate` becomes torch's `lr`."""

    learning_rate: Annotated[float, Gt(0)]
    weight_decay: Annotated[float, Ge(0)] = 0.0


class TargetSettings(Part):
    """What is to be learned: its kind, and its name on pictures and in reports."""

    kind: TargetKind
    name: Text | None
    """None: as the source calls what it learns, see `DataSettings.target_name`."""


class SplitSettings(Part):
    """Shares of the data that become validation and test split where the data do not say."""

    validation: Share
    test: Share
    salt: str


class DataSettings(Part):
    """The data, and how they are read, decoded and split."""

    name: Text
    root: Text
    batch_size: Count
    source: Node
    modality: Node
    target: TargetSettings
    split: SplitSettings
    max_refused: Annotated[float, Ge(0), Le(1)]
    allow_leakage: bool
    conflicting: Conflicting = "keep"

    @property
    def target_name(self) -> str:
        """As `target.name` says, else as the source says with a key `target`."""
        column = (self.source.model_extra or {}).get("target")
        return self.target.name or (column if isinstance(column, str) and column else "target")


class TrainerSettings(Part):
    """How long and how training runs."""

    max_epochs: Count
    steps_per_epoch: Count | None
    validation_steps: Count | None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    tf32: bool
    gradient_clip_norm: Annotated[float, Gt(0)] | None
    accumulate: Count
    sync_batch_norm: bool
    compile: bool
    deterministic: bool
    profile: bool
    auto: bool
    """Never true in a run's configuration: it has what was chosen."""
    log_every_steps: Count
    monitor: Text
    monitor_mode: Literal["min", "max"]
    keep: Literal["best", "last"]
    patience: Count | None


class EvaluationSettings(Part):
    """What is evaluated, and how its intervals are drawn."""

    split: Literal[SPLITS]  # type: ignore[valid-type]
    resamples: Annotated[int, Ge(100)]
    seed: Seed
    worst: Annotated[int, Ge(0)]


class PromotionSettings(Part):
    """What a run must hold to become the champion."""

    model: Annotated[str, Field(pattern=r"^[^/:@]+$")] | None
    """The registered model's name; None: the data's name."""
    minimums: dict[str, float]
    """Least values by metric, for those that are better when lower greatest ones."""
    significance: Annotated[float, Gt(0), Le(1)]
    recall_drop: Annotated[float, Ge(0), Le(1)] | None
    calibration_error: Annotated[float, Ge(0)] | None
    tolerance: Annotated[float, Ge(0)]
    reproduced: bool


class MachineSettings(Part):
    """Where it runs; nothing here may change a result."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count | Literal["auto"]
    """Of each node."""
    nodes: Count
    rendezvous: Annotated[str, Field(pattern=r"^\S+:\d+$")] | None
    strategy: Literal["ddp", "fsdp"]
    activation_checkpointing: bool
    restarts: Annotated[int, Ge(0)]
    checkpoint_interval_s: Annotated[float, Ge(0)]
    timeout_s: Count
    stop_s: Annotated[float, Gt(0)]
    workers: Annotated[int, Ge(0)]
    data_on_device: bool | Literal["auto"]
    cuda_graphs: bool | Literal["auto"]
    threads: Count | None


class Settings(Part):
    """A whole configuration."""

    experiment_name: Text
    seed: Seed
    init_from: Text | None
    fresh: bool
    data: DataSettings
    network: Node
    augmentation: Node
    task: Node
    optimizer: OptimizerNode
    schedule: Node
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    promotion: PromotionSettings
    machine: MachineSettings

    @property
    def title(self) -> str:
        """What its run and its model are called: data and network, such as `digits-cnn`."""
        return f"{self.data.name}-{self.network.target.rpartition('.')[2].lower()}"


def plain(node: Node) -> dict[str, Any]:
    """A node as plain values, as `targets.build` takes it."""
    return node.model_dump(by_alias=True)
