"""What runforge survives: faults put in on purpose, and what became of each.

`python benchmarks/faults [--quick] [--json] [PART…]`, from the project's folder; without PART all.
Each part is a module beside this one whose `rows(quick)` says what was tried, what was found, and
whether it is as it must be. Needs Linux, for signals and a small file system; root for the latter.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
# As the driver sets them for its workers; here they are forked from one warm process.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from benchmarks import table  # noqa: E402

PARTS = (
    *("kills", "signals", "training", "disks", "evaluation", "store", "data", "hostile", "leaks"),
    *("bits", "fuzz", "mistyped"),
)


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where something is not as it must be."""
    parts = {name: partial(_rows, name) for name in PARTS}
    options = table.options(__doc__, parts)
    rows = table.rows(parts, options, verdict="holds", otherwise="DOES NOT HOLD")
    holds = all(row["holds"] for row in rows)
    if options.json:
        print(json.dumps({"holds": holds, "rows": rows}))
    return 0 if holds else 1


def _rows(name: str, quick: bool) -> Iterator[tuple[str, str, bool]]:
    """Of a module beside this one; imported only where it is asked for."""
    yield from importlib.import_module(f"benchmarks.faults.{name}").rows(quick)


if __name__ == "__main__":
    sys.exit(main())
