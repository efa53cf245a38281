"""What a task promises to the learner, to a model and to evaluation.

B samples, K outputs of the network, C columns of predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import MetricCollection

    from runforge.metrics.figures import Figures
    from runforge.predictions import Predictions
    from runforge.schema import Schema


class Task(Protocol):
    """What is learned; a `torch.nn.Module` built with the schema of the data."""

    def output_count(self, schema: Schema) -> int:
        """K."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs [B, K], targets [B] → a loss for each sample [B], unweighted."""
        ...

    def sample_weights(self, targets: Tensor) -> Tensor | None:
        """Targets [B] → [B]; None where samples weigh the same."""
        ...

    def predictions(self, outputs: Tensor) -> Tensor:
        """Outputs [B, K] → [B, C]: a probability for each class, or the value."""
        ...

    def answers(self, outputs: Tensor) -> Tensor:
        """Outputs [B, K] → what is enough of predictions for the metrics of a training: the class
        [B], or the value [B, 1]."""
        ...

    def training_metrics(self) -> MetricCollection:
        """Updated with (answers or predictions, targets [B])."""
        ...

    def columns(self) -> tuple[str, ...]:
        """Names of the columns of predictions."""
        ...

    def figures(self, predictions: Predictions, *, resamples: int, seed: int) -> Figures:
        """Every figure of an evaluation."""
        ...
