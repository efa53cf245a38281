"""A multi-layer perceptron."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from annotated_types import Ge, Lt
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Mlp(nn.Module):
    """Inputs of any shape [B, …], flattened, → outputs [B, K].

    `flatten`: in which order a picture [C, H, W] is: `channels_first`, or `channels_last`, as
    packed pictures lie in memory, so that nothing has to be copied. A bundle that names neither was
    made before there was a choice.
    `hidden` has the width of each hidden layer; an empty list makes a linear model. `gelu` and
    `tanh` are smooth: rounding stays rounding, where a kink of `relu` may turn it into more.
    """

    def __init__(
        self,
        *,
        hidden: list[Annotated[int, Ge(1)]],
        activation: Literal["relu", "gelu", "tanh"],
        dropout: Annotated[float, Ge(0), Lt(1)],
        input_shape: tuple[int, ...],
        output_count: int,
        flatten: Literal["channels_first", "channels_last"] = "channels_first",
    ) -> None:
        super().__init__()
        self._channels_last = flatten == "channels_last"
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for hidden_width in hidden:
            activated = ACTIVATIONS[activation]()
            layers += [nn.Linear(width, hidden_width), activated, nn.Dropout(dropout)]
            width = hidden_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, output_count))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, *input_shape] → outputs [B, K]."""
        outputs: Tensor = self.layers(inputs.movedim(1, -1) if self._channels_last else inputs)
        return outputs
