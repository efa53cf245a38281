"""What runforge survives: faults put in on purpose, and what became of each.

`python benchmarks/faults [--quick] [--json] [PART…]`, from the project's folder; without PART all.
Each part is a module beside this one whose `rows(quick)` says what was tried, what was found, and
whether it is as it must be. Needs Linux, for signals and a small file system; root for the latter.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
# As the driver sets them for its workers; here they are forked from one warm process.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PARTS = ("kills", "signals", "training", "store", "data", "hostile", "leaks", "bits", "fuzz")


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few trials")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    options = parser.parse_args()
    found = []
    for part in options.parts or PARTS:
        module = importlib.import_module(f"benchmarks.faults.{part}")
        for what, told, holds in module.rows(options.quick):
            found.append({"part": part, "what": what, "found": told, "holds": holds})
            mark = "holds" if holds else "DOES NOT HOLD"
            print(f"| {part} | {what} | {told} | {mark} |", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"holds": all(row["holds"] for row in found), "rows": found}))
    return 0 if all(row["holds"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
