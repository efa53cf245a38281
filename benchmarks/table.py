"""The table of a benchmark: what was tried, what was found, whether it is as it must be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Part = Callable[[bool], Iterator[tuple[str, str, bool]]]
"""What was tried, what was found, and whether that is as it must be; True: the quick form."""


def options(description: str, parts: Mapping[str, Part]) -> argparse.Namespace:
    """What every benchmark takes on its command line: `parts`, `quick` and `json`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    return parser.parse_args()


def rows(
    parts: Mapping[str, Part], given: argparse.Namespace, *, verdict: str, otherwise: str
) -> list[dict[str, Any]]:
    """Tries the parts that were asked for, else all, and prints each row as soon as it is there.

    A row's key `verdict` is True where all is as it must be; it and `otherwise` are the words for
    that in the table.
    """
    found = []
    for part in given.parts or parts:
        for what, told, holds in parts[part](given.quick):
            found.append({"part": part, "what": what, "found": told, verdict: holds})
            mark = verdict if holds else otherwise
            print(f"| {part} | {what} | {told} | {mark} |", file=sys.stderr, flush=True)
    return found
