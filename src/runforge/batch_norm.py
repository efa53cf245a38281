"""Batch norm over the samples of all processes.

torch's own `SyncBatchNorm` refuses inputs on a CPU. B samples in a process's part of the batch,
which may be none; C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm(_BatchNorm):
    """Inputs [B, C, ...] → the like. In training, mean and variance are over all processes.

    In one process, and in evaluation, it is torch's own. Raises torch's `ValueError` in every
    process where all together have fewer than two values of a channel.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, C, ...] → outputs of the same shape and type."""
        self._check_input_dim(inputs)
        if not (self.training and _many_processes()):
            return super().forward(inputs)
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        moments = _moments(values)
        if self.track_running_stats:
            self._track(moments)
        return self._affine(moments).to(inputs.dtype)

    def _check_input_dim(self, inputs: Tensor) -> None:
        if inputs.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {inputs.dim()}D input)")

    @torch.no_grad()
    def _track(self, moments: _Moments) -> None:
        """Takes the batch into the running statistics; the variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = moments.variance * (moments.count / (moments.count - 1))
        self.running_mean.mul_(1 - share).add_(moments.mean, alpha=share)
        self.running_var.mul_(1 - share).add_(unbiased, alpha=share)

    def _affine(self, moments: _Moments) -> Tensor:
        scale = (moments.variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        outputs = moments.centred * _as_channels(scale, moments.centred)
        if self.bias is not None:
            outputs = outputs + _as_channels(self.bias, outputs)
        return outputs


def synchronise_batch_norm(network: nn.Module, device_type: str) -> nn.Module:
    """The network with batch norm over all processes; parameters, buffers and names stay."""
    if device_type == "cuda":
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(network)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            # It has no state of its own: so nothing needs to be copied, nor can be forgotten.
            module.__class__ = SharedBatchNorm
    return network


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any layer of the network learns from a whole batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of all processes' samples together, but for `centred`."""

    centred: Tensor
    """This process's values less the mean [B, C, ...]."""
    mean: Tensor
    """[C]"""
    variance: Tensor
    """[C], the biased one."""
    count: float
    """Values in a channel."""


class _Sum(torch.autograd.Function):
    """The sum over all processes; what one process puts in reaches the loss of each."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """values [N] → their sums [N]."""
        return _summed(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The gradient by the sums [N] → by this process's values [N]."""
        return _summed(gradient)


def _moments(values: Tensor) -> _Moments:
    """In two passes: the mean of squares less the square of the mean would lose digits."""
    dimensions = [0, *range(2, values.dim())]
    # float64: a float32 counts no further than 2²⁴.
    sums = values.sum(dimensions).double()
    totals = _over_all(torch.cat([sums, sums.new_tensor([values[:, 0].numel()])]))
    count = float(totals[-1].detach())
    _check_count(count, values)
    mean = (totals[:-1] / count).to(values.dtype)
    centred = values - _as_channels(mean, values)
    squares = _over_all(centred.square().sum(dimensions).double())
    return _Moments(centred, mean, (squares / count).to(values.dtype), count)


def _check_count(count: float, values: Tensor) -> None:
    if count < 2:
        what = "Expected more than 1 value per channel when training"
        raise ValueError(f"{what}, got {count:.0f} of all processes, input size {values.size()}")


def _over_all(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def _as_channels(values: Tensor, like: Tensor) -> Tensor:
    """[C] → [C, 1, ...], to go with [B, C, ...]."""
    return values.view(-1, *(1 for _ in like.shape[2:]))


def _many_processes() -> bool:
    ready = distributed.is_available() and distributed.is_initialized()
    return ready and distributed.get_world_size() > 1
