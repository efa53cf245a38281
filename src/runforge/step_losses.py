"""The losses of a training's steps, on their way from the device to where they are logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from runforge import ranks


class StepLoss(NamedTuple):
    """What is known of a step of the optimiser when it is done."""

    step: int
    """Its number, from 1."""
    rate: float
    share: float
    """This rank's share of the loss."""
    loss: float | None
    """The sum over all ranks; None where the step is not logged."""


class StepLosses:
    """Left on the device by one call of training's loop, read at the end of it.

    On a GPU they are read at the end of the next call: the work that lies ahead of the device is
    then never waited for. `log_every`: so many steps are between two that are logged.
    """

    def __init__(self) -> None:
        self._taken: list[tuple[int, float, Tensor]] = []
        self._sent: deque[_Sent] = deque()

    def add(self, step: int, rate: float, share: Tensor) -> None:
        """Takes in a step: its number, its learning rate, this rank's share of its loss."""
        self._taken.append((step, rate, share))

    def send(self, log_every: int) -> None:
        """Begins to bring what was taken in to the processor; every rank is to call this."""
        if not self._taken:
            return
        steps, rates, shares = zip(*self._taken, strict=True)
        self._taken = []
        logged = [place for place, step in enumerate(steps) if step % log_every == 0]
        # Not `values[logged]`: a GPU would be waited for, to bring it the numbers of the places.
        losses = [shares[place] for place in logged]
        if losses and ranks.count() > 1:
            losses = list(ranks.add_up(torch.stack(losses)))
        self._sent.append(_Sent(steps, rates, logged, torch.stack((*shares, *losses))))

    def read(self) -> Iterator[StepLoss]:
        """All that were sent and not read yet, in order; waits for the device."""
        while self._sent:
            yield from self._sent.popleft().read()

    def read_ready(self) -> Iterator[StepLoss]:
        """The same, but for those that were sent last where it would have to wait for them."""
        while len(self._sent) > 1 or (self._sent and not self._sent[0].on_its_way):
            yield from self._sent.popleft().read()


class _Sent:
    """The steps of one call: their shares, then the sums of those that are logged."""

    def __init__(
        self, steps: tuple[int, ...], rates: tuple[float, ...], logged: list[int], values: Tensor
    ) -> None:
        self._steps, self._rates, self._logged = steps, rates, logged
        self.on_its_way = values.device.type == "cuda"
        if self.on_its_way:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()
        else:
            self._values = values

    def read(self) -> Iterator[StepLoss]:
        if self.on_its_way:
            self._arrived.synchronize()
        values: list[float] = self._values.tolist()
        sums = dict(zip(self._logged, values[len(self._steps) :], strict=True))
        for place, (step, rate) in enumerate(zip(self._steps, self._rates, strict=True)):
            yield StepLoss(step, rate, values[place], sums.get(place))
