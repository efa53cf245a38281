"""The group of processes that share one run, and what they tell one another.

R ranks, numbered 0…R−1; rank 0 alone writes. A process that was started alone is a group of one,
and every function here then does nothing or next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import _set_pg_timeout

from runforge.errors import ConfigError

T = TypeVar("T")

CONNECT = timedelta(seconds=60)
"""How long ranks that have all arrived may take to connect; on a busy machine, once, they hung."""

BACKEND = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among those that share the work."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Its number on its own machine."""
    on_node: int = 1
    """Processes on its own machine."""

    def share(self, count: int) -> tuple[int, int]:
        """Begin and end of this rank's part of `count` things; parts differ by one at most."""
        return count * self.rank // self.count, count * (self.rank + 1) // self.count


ALONE = Ranks()


def in_group() -> bool:
    """Whether an agent started this process as one of a group, be it the only one."""
    return "LOCAL_RANK" in os.environ


def take_place(node_rank: int) -> Ranks:
    """The place that the agent gave to this process; `ALONE` without an agent.

    The number is made of the node's and the one on the node, so that rank 0 is on the node that
    records, whichever node came to the rendezvous first; Lightning reads it from the environment
    when it is imported. Raises `ConfigError` where nodes differ in their number of devices.
    """
    if not in_group():
        return ALONE
    on_node, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    if on_node * nodes != int(os.environ["WORLD_SIZE"]):
        what = f"this node has {on_node}, and all {nodes} together have {os.environ['WORLD_SIZE']}"
        raise ConfigError(what, where="machine.devices", mend="give every node the same number")
    os.environ["GROUP_RANK"] = str(node_rank)
    os.environ["RANK"] = str(node_rank * on_node + int(os.environ["LOCAL_RANK"]))
    return here()


def here() -> Ranks:
    """The place of this process, once it has taken one."""
    if not in_group():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return Ranks(*(int(os.environ[name]) for name in names))


@contextmanager
def joined(ranks: Ranks, attempt: int, device_type: str, timeout_s: float) -> Iterator[None]:
    """Joins the group while inside; no wait for another rank is longer than `timeout_s`."""
    if not in_group():
        yield
        return
    if device_type == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    limit = timedelta(seconds=timeout_s)
    distributed.init_process_group(
        BACKEND[device_type],
        store=_met(ranks, attempt, limit),
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=min(limit, CONNECT),
    )
    _set_pg_timeout(limit)
    yield
    # Only here: after an error the others may be in the midst of something, and this would wait.
    distributed.destroy_process_group()


def _met(ranks: Ranks, attempt: int, limit: timedelta) -> Store:
    """The store of this attempt's group, once every rank has come to it."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = PrefixStore(f"runforge/{attempt}", TCPStore(address, port, timeout=limit))
    store.set(f"here/{ranks.rank}", "")
    store.wait([f"here/{rank}" for rank in range(ranks.count)], limit)
    return store


def count() -> int:
    """R."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is rank 0, the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def add_up(tensor: Tensor) -> Tensor:
    """The sum over all ranks, in place, on every rank.

    Rows that one rank alone has filled, and the others hold as zeros, come out bit for bit.
    """
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def in_order(rows: Tensor, values: Tensor) -> Tensor:
    """Every rank's values [B, …], on every rank, in the order of their rows [B] of the data.

    `rows` lie on the CPU; none may come twice. Exact: each value is added to zeros alone.
    """
    every, _ = torch.cat(gather(rows)).sort()
    full = values.new_zeros(len(every), *values.shape[1:])
    full[torch.searchsorted(every, rows).to(values.device)] = values
    return add_up(full)


def gather(value: T) -> list[T]:
    """Every rank's value, on every rank, in the order of ranks."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    distributed.all_gather_object(values, value)
    return values


def tell_all(value: T) -> T:
    """Rank 0's value, on every rank."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    told: T = values[0]
    return told


def take_from_first(tensor: Tensor) -> None:
    """Gives the tensor of every rank the values that rank 0 has."""
    if count() > 1:
        plain = tensor.detach().contiguous()  # gloo takes no channels-last
        distributed.broadcast(plain, src=0)
        tensor.detach().copy_(plain)


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    if count() > 1:
        distributed.barrier()


def is_lost_contact(error: Exception) -> bool:
    """Whether it says that another rank did not answer, rather than that this one failed."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def is_device_fault(error: Exception) -> bool:
    """Whether it is the device that failed, and not for want of memory."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, torch.AcceleratorError) and not out_of_memory
