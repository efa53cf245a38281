"""`python -m runforge.node FOLDER`: what a node runs to start its share of many devices.

The process that ranks are forked from starts first, so that it imports torch and Lightning while
the agent imports torch and the driver MLflow.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from runforge.launch import Order
from runforge.warm import cool_down, warm_up


def main(arguments: list[str]) -> int:
    """Does as the agent does; returns the exit code."""
    signal.signal(signal.SIGTERM, _end)  # until torch's agent sets its own
    warm_up(Order.read(Path(arguments[0])))
    try:
        from runforge import agent

        return agent.main(arguments)
    finally:
        cool_down()


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
