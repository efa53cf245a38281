"""Packed samples held on the device: with them nothing large is copied in training's loop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MOST_SHARE = 0.4
"""Of the GPU's free memory: the rest is for weights and activations."""


class HeldRows:
    """All rows of an array [N, …] on a device."""

    def __init__(self, rows: np.ndarray, device: torch.device) -> None:
        # Into memory of its own first: torch may not be given a read-only map.
        self._rows = torch.from_numpy(np.array(rows)).to(device)

    def take(self, rows: Tensor) -> Tensor:
        """Row numbers int64 [B] on the device → rows [B, …]."""
        return self._rows.index_select(0, rows)


def held(rows: np.ndarray, device: torch.device, *, wanted: bool | str) -> HeldRows | None:
    """The rows, where it is wanted; `auto`: on a GPU that has the room."""
    if wanted == "auto":
        wanted = device.type == "cuda" and rows.nbytes <= MOST_SHARE * _free_bytes(device)
    return HeldRows(rows, device) if wanted else None


def _free_bytes(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0])
