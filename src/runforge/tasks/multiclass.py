"""One of C classes, from C logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.modules.loss import CrossEntropyLoss
from torchmetrics import MetricCollection

from runforge.classes import (
    check_classes,
    class_weight_tensor,
    classification_metrics,
    usual_class,
)
from runforge.losses import build_loss
from runforge.schema import Schema, TargetKind

if TYPE_CHECKING:
    from runforge.metrics.figures import Figures
    from runforge.predictions import Predictions


class Multiclass(nn.Module):
    """B samples, C classes, two or more.

    `class_weights`: weight of a sample by its class; `balanced` weighs each class the same.
    Raises `ConfigError` where the target is a value or the loss is none for classes.
    """

    learns: ClassVar[TargetKind] = "class"
    class_weights: Tensor | None

    def __init__(
        self,
        *,
        loss: Mapping[str, Any],
        class_weights: Literal["balanced"] | list[Annotated[float, Gt(0)]] | None,
        schema: Schema,
    ) -> None:
        super().__init__()
        count = check_classes(schema, "multiclass")
        example = torch.zeros(2, count), torch.tensor([0, 1])
        self.loss = build_loss(loss, (CrossEntropyLoss,), *example)
        self.classes = schema.classes
        self.usual = usual_class(schema)
        weights = class_weight_tensor(class_weights, schema)
        self.register_buffer("class_weights", weights, persistent=False)

    def output_count(self, schema: Schema) -> int:
        """C."""
        return len(schema.classes)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, C], indices [B] → [B]."""
        losses: Tensor = self.loss(outputs, targets)
        return losses

    def sample_weights(self, targets: Tensor) -> Tensor | None:
        """Indices [B] → [B]; None without class weights."""
        return None if self.class_weights is None else self.class_weights.take(targets)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Logits [B, C] → probabilities [B, C]."""
        return outputs.softmax(1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Logits [B, C] → indices [B]; probabilities would cost as much as a small network."""
        return outputs.argmax(1)

    def training_metrics(self) -> MetricCollection:
        """Updated with (indices [B] or probabilities [B, C], indices [B])."""
        return classification_metrics(len(self.classes))

    def columns(self) -> tuple[str, ...]:
        """The classes, in the order of their indices."""
        return self.classes

    def figures(self, predictions: Predictions, *, resamples: int, seed: int) -> Figures:
        """Every figure of an evaluation, the main ones with 95% bootstrap intervals."""
        from runforge.metrics.classification import classification_figures

        return classification_figures(predictions, resamples=resamples, seed=seed, usual=self.usual)
