"""Odd data and mistaken configurations, through the real commands, each in a process of its own.

`rows(quick)`: quick takes the same cases in one process. To run it by itself:
`python benchmarks/faults/data.py [--quick]`. Near-duplicates are looked for among the real
photographs of /work/shared/data too, where those are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from runforge.near_duplicates import hash_of, near_pairs  # noqa: E402
from tests.conftest import clean_environment  # noqa: E402
from tests.odd import cases, configurations, folders, idx_files, images, tables  # noqa: E402
from tests.odd.cases import Case, Outcome  # noqa: E402
from tests.odd.configurations import MISTAKES, Mistake  # noqa: E402
from tests.odd.memory import peak_mib  # noqa: E402

PARTS = {"images": images, "folders": folders, "IDX files": idx_files, "tables": tables}
PHOTOGRAPHS = Path("/work/shared/data")
LIMIT_MIB = 300


def rows(quick: bool) -> Iterator[tuple[str, str, bool]]:
    """What was tried, what was found, whether it holds."""
    for name, part in PARTS.items():
        yield _row(f"odd data: {name}", part.CASES, _prepared(quick))
    yield _row("mistaken configurations", MISTAKES, _trained(quick))
    yield from _bombs()
    yield from _near_duplicates()


def _row(
    name: str, given: Sequence[Any], problem: Callable[[Any, Path], str]
) -> tuple[str, str, bool]:
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(given):
            found = problem(one, Path(folder) / str(number))
            if found:
                wrong.append(one.name)
                print(one.name, found, file=sys.stderr)
    found = f"{len(given) - len(wrong)} of {len(given)} as expected {', '.join(wrong)}".strip()
    return name, found, not wrong


def _prepared(quick: bool) -> Callable[[Case, Path], str]:
    def problem(case: Case, folder: Path) -> str:
        cases.make_project(folder, case)
        outcome = cases.prepare(folder) if quick else _ran(folder, "stage", "prepare")
        found = cases.judge(case, folder, outcome)
        cases.remove(folder)
        return found

    return problem


def _trained(quick: bool) -> Callable[[Mistake, Path], str]:
    def problem(mistake: Mistake, folder: Path) -> str:
        configurations.make_project(folder, mistake)
        by_itself = configurations.train if quick else _train
        return configurations.judge(mistake, by_itself(folder, mistake))

    return problem


def _train(folder: Path, mistake: Mistake) -> Outcome:
    return _ran(folder, "train", *mistake.overrides)


def _ran(folder: Path, *arguments: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "runforge", *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Outcome(done.returncode, done.stderr)


def _bombs() -> Iterator[tuple[str, str, bool]]:
    named = {case.name: case for part in PARTS.values() for case in part.CASES}
    for name, beside in (
        ("image: 100 megapixels in 12 kB", "image: text"),
        ("image: a file of 40 GB", "image: text"),
        ("IDX: a gzip bomb", "IDX: plain"),
        ("table: a cell of 50 MB", "table: plain"),
        ("table: Parquet of 30 million rows", "table: plain"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            ordinary = peak_mib(named[beside], Path(folder) / "ordinary")[1]
            peak = peak_mib(named[name], Path(folder) / "bomb")[1]
        found = f"at most {peak} MiB; {ordinary} MiB without it"
        yield f"memory, {name}", found, peak - ordinary < LIMIT_MIB


def _near_duplicates() -> Iterator[tuple[str, str, bool]]:
    """Pairs among real photographs, every second one taken for the test split."""
    # By eye: every pair shows one scene, but for one of the flowers at a distance of 3 bits.
    for name, known in (("cats-vs-dogs", 1), ("flowers5", 18)):
        files = sorted((PHOTOGRAPHS / name).rglob("*.jpg"))
        if not files:
            continue
        hashes = [hash_of(photograph) for photograph in _photographs(files)]
        contents = [str(hash(path.read_bytes())) for path in files]
        found = set[tuple[int, int]]()
        for bit in range(len(files).bit_length()):
            splits = [("train", "test")[row >> bit & 1] for row in range(len(files))]
            pairs = near_pairs(hashes, splits, contents)
            found |= {(min(pair), max(pair)) for pair in pairs}
        what = f"near-duplicates among the {len(files)} photographs of {name}"
        yield what, f"{len(found)} pairs (expected: {known})", len(found) <= known


def _photographs(files: Sequence[Path]) -> Iterator[np.ndarray]:
    for path in files:
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB").resize((128, 128)))


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(*row, sep=" | ", flush=True)
