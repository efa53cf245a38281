"""How many steps of the optimiser are taken in one call of Lightning's loop.

Each call costs about half a millisecond, whatever is done in it: as much as a step of a small
network. Nothing but the time depends on the number: a run is told to stop, and a checkpoint is
kept, between two calls.
"""

from __future__ import annotations

CALL_S = 0.05
"""A call's duration that is aimed at: its cost is 1% of it, and a stop does not wait for long."""
MOST_STEPS = 128
MOST_BYTES = 32 << 20
"""Of packed inputs that are drawn at once."""


class Pace:
    """The number of the next call, from the time of those before; `batch_bytes`: packed."""

    def __init__(self, batch_bytes: int, *, most_steps: int = MOST_STEPS) -> None:
        self._most = max(1, min(most_steps, MOST_BYTES // max(batch_bytes, 1)))
        self.steps = 1

    def note(self, steps: int, duration_s: float) -> None:
        """Takes in what a call has taken."""
        fitting = int(CALL_S * steps / max(duration_s, 1e-9))
        self.steps = max(1, min(fitting, 2 * self.steps, self._most))
