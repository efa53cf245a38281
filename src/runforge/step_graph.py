"""A step of the optimiser as one CUDA graph.

A small network's step is some hundreds of kernels, each of which takes the GPU less time than
Python takes to launch it. Captured once, they are launched by a single call: the same kernels on
the same values.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from runforge.epoch import Samples
from runforge.errors import in_one_line
from runforge.steps import Batch, Step


class Outcome(NamedTuple):
    """What a step leaves on the device."""

    share: Tensor
    """This rank's share of its loss, a scalar."""
    samples: tuple[Samples, ...]
    """For the metrics, batch by batch."""


class NotCaptured(Exception):
    """The step can't be captured, and was not taken."""


class StepGraph:
    """Takes steps of one batch: the first few, and those of another size, as `take` does.

    `take` does all of a step and may not wait for the device; `size`: the samples of a step that
    are worth a graph. Raises `NotCaptured`.
    """

    WARM_STEPS = 3
    """torch chooses kernels and takes memory in the first steps, which can't be captured."""

    def __init__(self, take: Callable[[Step], Outcome], *, size: int) -> None:
        self._take, self._size, self._warm = take, size, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._step: Step | None = None
        self._outcome: Outcome | None = None

    def __call__(self, step: Step) -> Outcome:
        """Takes a step."""
        (batch,) = step.batches
        if len(batch.targets) != self._size or self._warm < self.WARM_STEPS:
            self._warm += 1
            return self._take(step)
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None and self._step is not None and self._outcome is not None
        for place, value in zip(self._step.batches[0], batch, strict=True):
            place.copy_(value)
        self._graph.replay()
        # The next launch writes over them; targets are the caller's own.
        share, ((losses, weights, predictions, _),) = self._outcome
        kept = losses.clone(), weights.clone(), predictions.clone(), batch.targets
        return Outcome(share.clone(), (kept,))

    def _capture(self, batch: Batch) -> None:
        places = Batch(*(value.clone() for value in batch))
        step = Step((places,), places.targets)
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        # Other threads, one of which writes checkpoints, may go on with what they do.
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._outcome = self._take(step)
        except RuntimeError as error:
            # torch leaves its generator as if it were still captured.
            generator = torch.cuda.default_generators[batch.rows.device.index]
            generator.graphsafe_set_state(generator.clone_state())
            raise NotCaptured(in_one_line(error)) from error
        self._graph, self._step = graph, step
