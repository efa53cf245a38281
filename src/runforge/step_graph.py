"""A step of the optimiser as one CUDA graph.

A small network's step is some hundreds of kernels, each of which takes the GPU less time than
Python takes to launch it. Captured once, they are launched by a single call: the same kernels on
the same values.
"""

from __future__ import annotations

import gc
import sys
from typing import NamedTuple

import torch

from runforge.errors import ConfigError, in_one_line
from runforge.step_taking import Outcome, Taker
from runforge.steps import Batch, Step

GRAPHS = "machine.cuda_graphs"


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    places: Batch
    """Where it reads its samples."""
    outcome: Outcome
    """Where it leaves what comes of them."""


class StepGraph:
    """Takes steps of one batch: the first few, and those of another size, as `take` does.

    `take` does all of a step and may not wait for the device; `size`: the samples of a step that
    are worth a graph. A step that can't be captured is told in one line, and its kernels are
    launched one by one; where a graph is `needed`, `ConfigError` is raised.
    """

    WARM_STEPS = 3
    """torch chooses kernels and takes memory in the first steps, which can't be captured."""

    def __init__(self, take: Taker, *, size: int, needed: bool) -> None:
        self._take, self._size, self._needed, self._warm = take, size, needed, 0
        self._tried = False
        self._captured: _Captured | None = None

    def __call__(self, step: Step) -> Outcome:
        """Takes a step."""
        (batch,) = step.batches
        if len(batch.targets) != self._size or self._warm < self.WARM_STEPS:
            self._warm += 1
            return self._take(step)
        if not self._tried:
            self._tried, self._captured = True, self._capture(batch)
        return self._take(step) if self._captured is None else self._launch(self._captured, batch)

    def _launch(self, captured: _Captured, batch: Batch) -> Outcome:
        for place, value in zip(captured.places, batch, strict=True):
            place.copy_(value)
        captured.graph.replay()
        # The next launch writes over them; targets are the caller's own.
        share, ((losses, weights, outputs, _),) = captured.outcome
        kept_weights = None if weights is None else weights.clone()
        kept = losses.clone(), kept_weights, outputs.clone(), batch.targets
        return Outcome(share.clone(), (kept,))

    def _capture(self, batch: Batch) -> _Captured | None:
        places = Batch(*(value.clone() for value in batch))
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, one of which writes checkpoints, may go on with what they do.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outcome = self._take(Step((places,), places.targets))
        except RuntimeError as error:
            self._leave(error, batch.rows.device)
            return None
        return _Captured(graph, places, outcome)

    def _leave(self, error: RuntimeError, device: torch.device) -> None:
        """Goes on without; nothing of the step was done."""
        self._take.forget()
        # torch leaves its generator as if it were still captured.
        generator = torch.cuda.default_generators[device.index]
        generator.graphsafe_set_state(generator.clone_state())
        reason = f"the step can't be captured as a CUDA graph: {in_one_line(error)}"
        if self._needed:
            raise ConfigError(reason, where=GRAPHS, mend="set it to auto or false") from error
        print(f"train: {reason}; its kernels are launched one by one", file=sys.stderr)
