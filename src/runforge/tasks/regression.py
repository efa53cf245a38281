"""A value, learned in standard units and predicted in its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from torchmetrics import MetricCollection
from torchmetrics.regression import MeanAbsoluteError, R2Score

from runforge.errors import ConfigError, DataError
from runforge.losses import build_loss
from runforge.schema import Schema, TargetKind

if TYPE_CHECKING:
    from runforge.metrics.figures import Figures
    from runforge.predictions import Predictions

LOSSES = (MSELoss, L1Loss, SmoothL1Loss, HuberLoss)


class Regression(nn.Module):
    """B samples, one value for each.

    The network learns (target − mean) / std of the training split, so that neither its learning
    rate nor its loss depends on the target's unit. Raises `ConfigError` where the target is a
    class or the loss is none for values.
    """

    learns: ClassVar[TargetKind] = "value"

    def __init__(self, *, loss: Mapping[str, Any], schema: Schema) -> None:
        super().__init__()
        if schema.target_kind != "value":
            what = (
                f"task=regression learns a value, but the target {schema.target_name!r} is a class"
            )
            raise ConfigError(what, where="task", mend="take `task=multiclass` or `task=binary`")
        if not schema.target_std > 0:
            what = f"every training target is {schema.target_mean}"
            raise DataError(
                what, where=f"target {schema.target_name!r}", mend="there is nothing to learn"
            )
        self.loss = build_loss(loss, LOSSES, torch.zeros(2), torch.tensor([0.0, 1.0]))
        self.mean, self.std, self.name = schema.target_mean, schema.target_std, schema.target_name

    def output_count(self, schema: Schema) -> int:
        """One."""
        return 1

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs [B, 1] in standard units, targets [B] in their own → [B]."""
        losses: Tensor = self.loss(outputs[:, 0], (targets - self.mean) / self.std)
        return losses

    def sample_weights(self, targets: Tensor) -> None:
        """None: samples weigh the same."""

    def predictions(self, outputs: Tensor) -> Tensor:
        """Outputs [B, 1] in standard units → values [B, 1] in the target's unit."""
        return outputs * self.std + self.mean

    def answers(self, outputs: Tensor) -> Tensor:
        """The predictions."""
        return self.predictions(outputs)

    def training_metrics(self) -> MetricCollection:
        """Updated with (values [B, 1], targets [B])."""
        return _ColumnMetrics({"mae": MeanAbsoluteError(), "r2": _R2(self.mean, self.std)})

    def columns(self) -> tuple[str, ...]:
        """The target's name."""
        return (self.name,)

    def figures(self, predictions: Predictions, *, resamples: int, seed: int) -> Figures:
        """Every figure of an evaluation, the main ones with 95% bootstrap intervals."""
        from runforge.metrics.regression import regression_figures

        return regression_figures(predictions, resamples=resamples, seed=seed, usual=self.mean)


class _ColumnMetrics(MetricCollection):
    """Metrics of one column: [B, 1] against [B]."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update(predictions[:, 0], targets)


class _R2(R2Score):
    """R², which a single sample hasn't: NaN there, where torchmetrics raises.

    Of values in standard units, where it is the same: torchmetrics takes one sum of squares from
    another, and of values far from zero nothing would be left of the difference.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self._mean, self._std = mean, std

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update((preds - self._mean) / self._std, (target - self._mean) / self._std)

    def compute(self) -> Tensor:
        if self.total < 2:
            return torch.tensor(float("nan"))
        return super().compute()
