"""A small residual network, in the form of He et al. 2016 for small pictures (section 4.2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt, MinLen
from torch import Tensor, nn

from runforge.errors import ConfigError


class Resnet(nn.Module):
    """Inputs [B, C, H, W] from 8×8 up → outputs [B, K].

    Each of `widths` is a stage of `blocks` residual blocks; every stage but the first halves
    height and width. `stem_stride` shrinks large pictures before the first block.
    """

    def __init__(
        self,
        *,
        widths: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)],
        blocks: Annotated[int, Ge(1)],
        stem_stride: Annotated[int, Ge(1), Le(4)],
        dropout: Annotated[float, Ge(0), Lt(1)],
        input_shape: tuple[int, ...],
        output_count: int,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            what = f"resnet takes pictures [C, H, W], not inputs {list(input_shape)}"
            raise ConfigError(what, where="network", mend="take `network=mlp`")
        stem = _convolution(input_shape[0], widths[0], stem_stride)
        strides = [1, *[2] * (len(widths) - 1)]
        stages = [
            _stage(before, width, blocks, stride)
            for (before, width), stride in zip(pairwise([widths[0], *widths]), strides, strict=True)
        ]
        self.features = nn.Sequential(stem, nn.ReLU(), *stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], output_count))
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, H, W] in either memory format → outputs [B, K]."""
        features = self.features(inputs.contiguous(memory_format=torch.channels_last))
        # A plain mean: the backward pass of adaptive pooling is not deterministic on a GPU.
        outputs: Tensor = self.head(features.mean((2, 3)))
        return outputs


class _Block(nn.Module):
    """relu(f(x) + x), f two 3×3 convolutions; a 1×1 convolution of x where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(before, width, stride), nn.ReLU(), _convolution(width, width, 1)
        )
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(before, width, stride, size=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.residual(inputs) + self.shortcut(inputs))


def _stage(before: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(before, width, stride)
    return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))


def _convolution(before: int, width: int, stride: int, *, size: int = 3) -> nn.Sequential:
    """A convolution without bias and its batch norm, initialised as in He et al. 2015."""
    convolution = nn.Conv2d(before, width, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(width))
