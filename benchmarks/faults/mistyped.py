"""Odd texts for every key, option and address: no traceback, and no hint that fails when pasted.

`rows(quick)`: one value in forty, or every one of them for every key and argument, which takes two
hours. To run it by itself: `python benchmarks/faults/mistyped.py [--quick]`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.odd.mistyped import address, command, commands, composed_pairs, composing  # noqa: E402
from tests.odd.texts import VALUES  # noqa: E402

QUICK = 40


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """What was tried, what was found, whether it holds."""
    each = QUICK if quick else 1
    with tempfile.TemporaryDirectory(prefix="mistyped-") as name:
        project = Path(name)
        shutil.copytree(ROOT / "conf", project / "conf")
        shutil.copy(ROOT / "params.yaml", project)
        (project / "dvc.yaml").touch()
        pairs = composed_pairs(project)[::each]
        yield _row("overrides", [composing(project, *pair) for pair in pairs])
        words = [one for value in VALUES for one in commands(value)][::each]
        yield _row("arguments of commands", [command(project, one) for one in words])
        yield _row("addresses of the store", [address(value) for value in VALUES])


def _row(what: str, found: Sequence[str]) -> tuple[str, str, bool]:
    wrong = [one for one in found if one]
    told = "each taken, or one line whose hint works" if not wrong else wrong[0][-300:]
    return f"mistyped: {what}", f"{len(found)} tried: {told}", not wrong


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(*row, sep=" | ", flush=True)
