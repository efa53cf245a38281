"""Fuzzing, the long form: every reader of something from outside, for minutes each.

`rows(quick)`: 20 s a property, or ten minutes. To run it by itself:
`python benchmarks/faults/fuzz.py [--quick]`.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.odd.fuzzing import PROPERTIES, explore  # noqa: E402

EXAMPLES = 100
"""Of one seed; the next hundred have the next seed."""


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """What was tried, what was found, whether it holds."""
    warnings.filterwarnings("ignore", "Initializing zero-element tensors")
    for name in PROPERTIES:
        yield (f"fuzz: {name}", *_explored(name, 20 if quick else 600))


def _explored(name: str, duration_s: float) -> tuple[str, bool]:
    end, seed = time.monotonic() + duration_s, 0
    while time.monotonic() < end:
        try:
            explore(name, EXAMPLES, seed)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            text = " ".join(str(error).split())[:200]
            return f"seed {seed}: {type(error).__name__}: {text}", False
        seed += 1
    return f"{seed * EXAMPLES} inputs: a value or one line", True


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(*row, sep=" | ", flush=True)
