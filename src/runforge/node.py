"""`python -m runforge.node FOLDER`: what a node runs to start its share of many devices.

The process that ranks are forked from starts first, so that it imports torch and Lightning while
the agent imports torch and the driver MLflow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runforge import console, signals
from runforge.errors import Interrupted
from runforge.handover import Order
from runforge.process import die_with_parent, leave
from runforge.warm import cool_down, warm_up_ranks


def main(arguments: list[str]) -> int:
    """Does as the agent does; returns the exit code."""
    console.take_over(result=False)
    die_with_parent()
    try:
        with signals.as_interrupts():
            warm_up_ranks(Order.read(Path(arguments[0])))
            from runforge import agent

            return agent.main(arguments)
    except Interrupted as error:
        return error.exit_code
    finally:
        cool_down()


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
