"""A multi-layer perceptron."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn


class Mlp(nn.Module):
    """Inputs of any shape [B, …], flattened, → outputs [B, K].

    `hidden` has the width of each hidden layer; an empty list makes a linear model.
    """

    def __init__(
        self,
        *,
        hidden: list[Annotated[int, Ge(1)]],
        dropout: Annotated[float, Ge(0), Lt(1)],
        input_shape: tuple[int, ...],
        output_count: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for hidden_width in hidden:
            layers += [nn.Linear(width, hidden_width), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, output_count))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *input_shape] → outputs [B, K]."""
        outputs: Tensor = self.layers(inputs)
        return outputs
