"""The blocks of a network: what is sharded, and whose activations are computed twice.

A block is a child, with parameters, of an outermost `nn.Sequential` or `nn.ModuleList`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from runforge.errors import ConfigError


def blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks in the order of the network; none where it has no such container."""
    found: list[nn.Module] = []
    for child in network.children():
        descends = not isinstance(network, (nn.Sequential, nn.ModuleList)) or _can_not_run(child)
        if descends:
            found += blocks(child)
        elif any(True for _ in child.parameters()):
            found.append(child)
    return list(dict.fromkeys(found))


def checkpoint_activations(network: nn.Module) -> None:
    """Lets each block compute its activations again in the backward pass, instead of keeping them.

    Names and `state_dict` stay. Raises `ConfigError` where the network has no blocks.
    """
    found = blocks(network)
    if not found:
        what = "the network has no blocks: no nn.Sequential or nn.ModuleList with parameters"
        where = "machine.activation_checkpointing"
        raise ConfigError(what, where=where, mend="set it to false")
    for block in found:
        block.forward = partial(_recomputed, block)


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Spreads the parameters over the processes of `mesh`, by FSDP2, block by block.

    Raises `ConfigError` where torch can't.
    """
    found = blocks(network)
    if shared := _shared(network, found):
        raise _can_not_shard(f"{shared[0]} is shared between blocks")
    # FSDP takes no other memory format (channels_last).
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    try:
        for module in (*found, network):
            fully_shard(module, mesh=mesh)
    except (ValueError, NotImplementedError, AssertionError) as error:
        raise _can_not_shard(str(error)) from error


def _shared(network: nn.Module, found: list[nn.Module]) -> list[str]:
    """Parameters of several blocks: torch would find them in the first forward pass only."""
    owners = {module: block for block in found for module in block.modules()}
    used_by: dict[nn.Parameter, set[nn.Module]] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            used_by.setdefault(parameter, set()).add(owners.get(module, network))
    return [name for name, parameter in network.named_parameters() if len(used_by[parameter]) > 1]


def _can_not_shard(reason: str) -> ConfigError:
    what, where = f"the network can't be sharded: {reason}", "machine.strategy=fsdp"
    return ConfigError(what, where=where, mend="take `machine.strategy=ddp`")


def _can_not_run(module: nn.Module) -> bool:
    return type(module).forward is nn.Module.forward


def _recomputed(block: nn.Module, *inputs: Any, **keywords: Any) -> Any:
    """The block's forward pass, with checkpointing while it trains."""
    forward = partial(type(block).forward, block)
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **keywords)
    if torch.compiler.is_compiling():
        # The compiler takes no `context_fn`, and needs none: it recomputes values, not writes.
        return checkpoint(forward, *inputs, use_reentrant=False, **keywords)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **keywords)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], _BuffersAsBefore]:
    return nullcontext(), _BuffersAsBefore(block)


class _BuffersAsBefore(AbstractContextManager[None]):
    """Within, the block has copies of the buffers that it had when this was made.

    So the second forward pass sees what the first saw, and what it writes is lost: batch norm
    takes each batch into its running statistics once. May be entered several times.
    """

    def __init__(self, block: nn.Module) -> None:
        self._kept = [
            (module, name, buffer, buffer.clone())
            for module in block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def __enter__(self) -> None:
        for module, name, _, before in self._kept:
            setattr(module, name, before.clone())

    def __exit__(self, *raised: object) -> None:
        for module, name, buffer, _ in self._kept:
            setattr(module, name, buffer)
