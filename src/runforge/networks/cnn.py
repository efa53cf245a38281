"""The convolutional classifier that this project started from.

Blocks of a 3×3 convolution, max-pooling and ReLU, then one dense layer. Pooling stands before
ReLU: both are monotone, so the values are the same and ReLU has a quarter of the work.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt, MinLen
from torch import Tensor, nn

from runforge.errors import ConfigError

PART_BYTES = 12_000_000
"""Of a convolution's outputs at a time on a CPU: they stay in its cache for what comes next, as
decision 0023 measured."""


class Cnn(nn.Module):
    """Inputs [B, C, H, W] → outputs [B, K].

    `filters` has the width of each block; `padding`: `same` keeps a convolution's height and
    width, `valid` takes 2 off. Raises `ConfigError` where nothing of the picture would be left.
    """

    def __init__(
        self,
        *,
        filters: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)],
        padding: Literal["same", "valid"],
        dense: Annotated[int, Ge(1)],
        dropout: Annotated[float, Ge(0), Lt(1)],
        input_shape: tuple[int, ...],
        output_count: int,
    ) -> None:
        super().__init__()
        channels, height, width = _checked(input_shape)
        sample_bytes: list[int] = []
        blocks: list[nn.Module] = []
        for filter_count in filters:
            sample_bytes.append(4 * filter_count * height * width)
            blocks += [
                nn.Conv2d(channels, filter_count, 3, padding=padding),
                nn.MaxPool2d(2),
                nn.ReLU(),
            ]
            channels = filter_count
            height, width = _after_block(height, padding), _after_block(width, padding)
        if min(height, width) < 1:
            raise _too_small(input_shape, len(filters), padding)
        self._sample_bytes = max(sample_bytes)
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, dense),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dense, output_count),
        )
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] in either memory format → outputs [B, K]."""
        # Packed pictures are [B, H, W, C], so this copies nothing in training.
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        parts = self._parts(inputs)
        features = [self.features(part) for part in inputs.tensor_split(parts)]
        outputs: Tensor = self.head(torch.cat(features) if parts > 1 else features[0])
        return outputs

    def _parts(self, inputs: Tensor) -> int:
        """In how many parts the features are computed: 1 on a GPU, and where a graph is made."""
        if inputs.device.type != "cpu" or torch.compiler.is_compiling():
            return 1
        # Sharded weights, which have one, are gathered at each call, by all ranks alike.
        if hasattr(next(self.features.parameters()), "device_mesh"):
            return 1
        return max(1, math.ceil(len(inputs) * self._sample_bytes / PART_BYTES))


def _checked(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(input_shape) != 3:
        what = f"cnn takes pictures [C, H, W], not inputs {list(input_shape)}"
        raise ConfigError(what, where="network", mend="take `network=mlp`")
    return input_shape[0], input_shape[1], input_shape[2]


def _after_block(length: int, padding: str) -> int:
    return max(length if padding == "same" else length - 2, 0) // 2


def _too_small(input_shape: tuple[int, ...], blocks: int, padding: str) -> ConfigError:
    _, height, width = input_shape
    what = f"pictures of {height}×{width} are too small for {blocks} blocks with padding={padding}"
    mend = "take fewer filters or larger pictures (data.modality.height, data.modality.width)"
    if padding == "valid":
        mend = f"set `network.padding=same`, or {mend}"
    return ConfigError(what, where="network.filters", mend=mend)
