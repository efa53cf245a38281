"""Real processes that share work over gloo, for the tests of distributed training.

They are forked from a server that has imported torch, Lightning and MLflow once, so that one takes
milliseconds to start; each has the environment that the agent gives to its workers.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

LIMIT_S = 120
WARM = ["runforge.fitting", "runforge.evaluating", "runforge.tracking.model_record"]


def together(function: Callable[..., Any], count: int, folder: Path, *given: Any) -> list[Any]:
    """What `function(rank, count, *given)` returns in each of `count` processes, by rank."""
    multiprocessing.set_forkserver_preload(WARM)
    folder.mkdir(parents=True, exist_ok=True)
    arguments = (function, count, folder, given)
    context = start_processes(_one, arguments, count, False, False, "forkserver")
    deadline = time.monotonic() + LIMIT_S
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, f"{function} took over {LIMIT_S} s"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _one(
    rank: int, function: Callable[..., Any], count: int, folder: Path, given: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(GROUP_RANK="0", GROUP_WORLD_SIZE="1", TORCHELASTIC_RUN_ID="tests")
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="0")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=60),
    )
    torch.save(function(rank, count, *given), folder / f"{rank}.pt")
    (folder / f"{rank}.done").touch()
    distributed.destroy_process_group()
