"""The main figures of an evaluation as a table for the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runforge import console

METRICS = "metrics.json"


def print_figures(evaluation: Path) -> None:
    """Prints the figures that have an interval, the headline first, to standard error."""
    figures = json.loads((evaluation / METRICS).read_text(encoding="utf-8"))
    table = Table("figure", "value", "95% interval")
    for name, value in figures.items():
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        if low is not None and high is not None:
            table.add_row(name, f"{value:.4g}", f"{low:.4g} – {high:.4g}")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    console.take_over()
    print_figures(Path(sys.argv[1]))
