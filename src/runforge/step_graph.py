"""A step of the optimiser as one CUDA graph.

A small network's step is some hundreds of kernels, each of which takes the GPU less time than
Python takes to launch it. Captured once, they are launched by a single call: the same kernels on
the same values.
"""

from __future__ import annotations

import gc
import sys

import torch

from runforge.errors import ConfigError, in_one_line
from runforge.step_taking import Outcome, Taker
from runforge.steps import Batch, Step

GRAPHS = "machine.cuda_graphs"


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
        self._graph: torch.cuda.CUDAGraph | None = None
        self._step: Step | None = None
        self._outcome: Outcome | None = None

    def __call__(self, step: Step) -> Outcome:
        """Takes a step."""
        (batch,) = step.batches
        if len(batch.targets) != self._size or self._warm < self.WARM_STEPS:
            self._warm += 1
            return self._take(step)
        if not self._tried:
            self._capture(batch)
        if self._graph is None or self._step is None or self._outcome is None:
            return self._take(step)
        for place, value in zip(self._step.batches[0], batch, strict=True):
            place.copy_(value)
        self._graph.replay()
        # The next launch writes over them; targets are the caller's own.
        share, ((losses, weights, outputs, _),) = self._outcome
        kept_weights = None if weights is None else weights.clone()
        kept = losses.clone(), kept_weights, outputs.clone(), batch.targets
        return Outcome(share.clone(), (kept,))

    def _capture(self, batch: Batch) -> None:
        self._tried = True
        places = Batch(*(value.clone() for value in batch))
        step = Step((places,), places.targets)
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, one of which writes checkpoints, may go on with what they do.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._outcome = self._take(step)
        except RuntimeError as error:
            self._leave(error, batch.rows.device)
            return
        self._graph, self._step = graph, step

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
