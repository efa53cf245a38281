"""From packed rows to a network's inputs: the same path in training, evaluation and use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runforge import targets
from runforge.sample import Modality
from runforge.schema import Schema


class InputLayer(nn.Module):
    """Packed rows [B, *packed_shape] → inputs of the network [B, *input_shape].

    The statistics are buffers, so that they move with the module, but no weights: they belong to
    the schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.modality: Modality = targets.build(schema.modality)
        self._names = tuple(schema.statistics)
        for name, values in schema.statistics.items():
            self.register_buffer(_buffer(name), torch.tensor(values), persistent=False)

    def to_float(self, packed: Tensor) -> Tensor:
        """Packed rows as float32, ready for augmentation."""
        return self.modality.to_float(packed, self._statistics())

    def normalise(self, inputs: Tensor) -> Tensor:
        """What `to_float` gave → inputs of the network."""
        return self.modality.normalise(inputs, self._statistics())

    def forward(self, packed: Tensor) -> Tensor:
        """Both in one."""
        return self.normalise(self.to_float(packed))

    def _statistics(self) -> dict[str, Tensor]:
        return {name: getattr(self, _buffer(name)) for name in self._names}


def _buffer(name: str) -> str:
    return f"statistic_{name}"
