"""The optimiser of a configuration, and its learning rate, which is set at each step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import SGD

from runforge import targets
from runforge.errors import ConfigError


def build_optimizer(node: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of a node, whose `learning_rate` is torch's `lr`; raises `ConfigError`."""
    keywords = {"lr" if key == "learning_rate" else key: value for key, value in node.items()}
    try:
        optimizer: Optimizer = targets.build(keywords, params=parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{error}", where="optimizer", mend="mend its keys") from error
    return optimizer


class Rate:
    """An optimiser's learning rate; with `on_device`, a tensor there that its kernels read.

    So a step that was captured as a CUDA graph takes the rate that is set before it is launched.
    """

    def __init__(self, optimizer: Optimizer, *, on_device: torch.device | None = None) -> None:
        self._groups = optimizer.param_groups
        self._value: Tensor | None = None
        if on_device is not None:
            self._value = torch.zeros((), device=on_device)
        for group in self._groups:
            # A checkpoint, perhaps of another device, has brought its own.
            if "capturable" in group:
                group["capturable"] = on_device is not None
            if self._value is not None:
                group["lr"] = self._value

    def set(self, rate: float) -> None:
        """For the steps that follow."""
        if self._value is not None:
            self._value.fill_(rate)
            return
        for group in self._groups:
            group["lr"] = rate


def can_be_captured(optimizer: Optimizer) -> bool:
    """Whether all that changes from step to step can lie on the device."""
    return isinstance(optimizer, SGD) or "capturable" in optimizer.defaults
