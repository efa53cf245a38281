"""Copies to a GPU beside what it still has to do."""

from __future__ import annotations

import torch
from lightning_fabric.utilities.apply_func import move_data_to_device

from runforge.steps import Batch, Steps


class SideStream:
    """A stream of copies to one GPU, from memory that is pinned."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def bring(self, given: Steps | Batch) -> Steps | Batch:
        """The same on the device; what is launched from now on waits until it is there."""
        with torch.cuda.stream(self._stream):
            brought: Steps | Batch = move_data_to_device(given, self._device)
        working = torch.cuda.current_stream(self._device)
        working.wait_stream(self._stream)
        tensors = (*brought.samples, brought.targets) if isinstance(brought, Steps) else brought
        for tensor in tensors:
            # Its memory may be taken for another copy only when this stream has done with it.
            tensor.record_stream(working)
        return brought
