"""One of two classes, from a single logit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.modules.loss import BCEWithLogitsLoss
from torchmetrics import MetricCollection

from runforge.classes import (
    check_classes,
    class_weight_tensor,
    classification_metrics,
    usual_class,
)
from runforge.errors import ConfigError
from runforge.losses import build_loss
from runforge.schema import Schema, TargetKind

if TYPE_CHECKING:
    from runforge.metrics.figures import Figures
    from runforge.predictions import Predictions


class Binary(nn.Module):
    """B samples, two classes; the second in the schema's order is the positive one.

    The probability of the positive class is the sigmoid of the logit. Predictions have a column
    for each class, so that the class predicted, the column with the larger probability, is the
    probability thresholded at one half.

    `class_weights`: weight of a sample by its class; `balanced` weighs each class the same.
    Raises `ConfigError` where the target is a value or the loss is none for
    one logit, or where there are more than two classes.
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
        count = check_classes(schema, "binary")
        if count != 2:
            what = f"task=binary tells two classes apart, and there are {count}"
            raise ConfigError(what, where="task", mend="take `task=multiclass`")
        example = torch.zeros(2), torch.tensor([0.0, 1.0])
        self.loss = build_loss(loss, (BCEWithLogitsLoss,), *example)
        self.classes = schema.classes
        self.usual = usual_class(schema)
        weights = class_weight_tensor(class_weights, schema)
        self.register_buffer("class_weights", weights, persistent=False)

    def output_count(self, schema: Schema) -> int:
        """One logit."""
        return 1

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [B, 1], indices [B] → [B]."""
        losses: Tensor = self.loss(outputs[:, 0], targets.to(outputs.dtype))
        return losses

    def sample_weights(self, targets: Tensor) -> Tensor | None:
        """Indices [B] → [B]; None without class weights."""
        return None if self.class_weights is None else self.class_weights.take(targets)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Logits [B, 1] → probabilities [B, 2] of both classes."""
        # The sigmoid of −x is 1 − sigmoid(x) without losing the digits of a small probability.
        return torch.cat([-outputs, outputs], 1).sigmoid()

    def answers(self, outputs: Tensor) -> Tensor:
        """Logits [B, 1] → indices [B]."""
        return (outputs[:, 0] > 0).long()

    def training_metrics(self) -> MetricCollection:
        """Updated with (indices [B] or probabilities [B, 2], indices [B])."""
        return classification_metrics(len(self.classes))

    def columns(self) -> tuple[str, ...]:
        """Both classes, in the order of their indices."""
        return self.classes

    def figures(self, predictions: Predictions, *, resamples: int, seed: int) -> Figures:
        """Every figure of an evaluation, the main ones with 95% bootstrap intervals."""
        from runforge.metrics.classification import classification_figures

        return classification_figures(predictions, resamples=resamples, seed=seed, usual=self.usual)
