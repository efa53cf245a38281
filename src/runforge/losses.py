"""A configured loss that gives one number for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from runforge import targets
from runforge.errors import ConfigError


def build_loss(
    node: Mapping[str, Any], accepted: Sequence[type[nn.Module]], outputs: Tensor, target: Tensor
) -> nn.Module:
    """The loss of a node, unreduced, tried on example `outputs` and `target` of one batch [B].

    Raises `ConfigError` where it is none of the `accepted`, or its keys don't serve it.
    """
    where = "task.loss"
    kind = targets.resolve(node.get(targets.TARGET), f"{where}.{targets.TARGET}")
    names = ", ".join(a.__name__ for a in accepted)
    if kind not in accepted:
        what = f"{kind.__name__} can't serve this task"
        raise ConfigError(what, where=where, mend=f"take {names}, or another task")
    try:
        loss: nn.Module = targets.build(node, reduction="none")
        shape = loss(outputs, target).shape
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{kind.__name__}: {error}", where=where, mend="mend its keys") from error
    if shape != target.shape:
        raise ConfigError(f"{kind.__name__} gives no loss for each sample", where=where)
    return loss
