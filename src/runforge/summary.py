"""The main figures of an evaluation as a table for the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runforge import console
from runforge.metrics.figures import METRICS, NOTES
from runforge.metrics.names import MAIN_OF_CLASSES, MAIN_OF_VALUES
from runforge.terminal import print_table, print_text, rounded

END = ("_low", "_high")


def print_figures(evaluation: Path) -> None:
    """Prints the main figures, the headline first, and what to know of them, to standard error."""
    figures = json.loads((evaluation / METRICS).read_text(encoding="utf-8"))
    rows = list(_rows(figures))
    print_table(("figure", "value", "95% interval"), rows, to=sys.stderr)
    notes = evaluation / NOTES
    if notes.is_file():  # evaluations of before have none
        for line in notes.read_text(encoding="utf-8").splitlines():
            print_text(line, to=sys.stderr)


def _rows(figures: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    """The main figures, and others with an interval."""
    for name, value in figures.items():
        low, high = (figures.get(f"{name}{end}") for end in END)
        if low is not None and high is not None:
            yield name, rounded(value), f"{rounded(low)} – {rounded(high)}"
        elif name in (*MAIN_OF_CLASSES, *MAIN_OF_VALUES):
            yield name, rounded(value), "–"


if __name__ == "__main__":
    console.take_over()
    print_figures(Path(sys.argv[1]))
