"""Runs of every kind made again: all must be identical; and four changes, each named as the cause.

`python benchmarks/reproduce.py [--quick] [--json] [PART…]`, from the project's folder, with the
parts train (two networks, several seeds), sweep, pipeline (`dvc repro`), experiments (`dvc exp
run`, `--temp`, `--queue`), dirty (changes that are not committed) and causes (one byte of an image,
one value of a configuration, one line of code, one version of a package); default: all. Twenty
runs, with --quick seven. Data: 300 of scikit-learn's digits. Needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from tests import conftest  # noqa: E402
from tests.reproductions import (  # noqa: E402
    Made,
    dirty,
    made,
    other_byte,
    other_line,
    other_package,
    other_value,
    untouched,
)

LINE = "        return outputs * 2.0\n"
Row = tuple[str, str, bool]


def trainings(there: Made, quick: bool) -> Iterator[tuple[str, str]]:
    """What kind of run each is, and its id; as in the parts below."""
    for network in ("mlp",) if quick else ("cnn", "mlp"):
        for seed in (0,) if quick else (0, 1, 2, 3):
            yield f"train {network}, seed {seed}", there.train(f"network={network}", f"seed={seed}")


def sweep(there: Made, quick: bool) -> Iterator[tuple[str, str]]:
    """Its trials."""
    parent = there.train("-m", "network=cnn,mlp", "seed=5" if quick else "seed=5,6")
    for trial in there.children(parent):
        yield "trial of a sweep", trial


def pipeline(there: Made, quick: bool) -> Iterator[tuple[str, str]]:
    """`dvc repro`."""
    yield "dvc repro", there.dvc("repro", "--quiet")
    if not quick:
        there.project.edit(
            "conf/experiment/images.yaml", "learning_rate: 0.003", "learning_rate: 0.004"
        )
        yield "dvc repro, conf edited", there.dvc("repro", "--quiet")


def experiments(there: Made, quick: bool) -> Iterator[tuple[str, str]]:
    """`dvc exp run`, in the work tree and in copies, where there is a change not committed."""
    start, rate = ("exp", "run", "--quiet"), "optimizer.learning_rate"
    if not quick:
        yield "dvc exp run", there.dvc(*start, "-S", f"{rate}=0.01")
    yield "dvc exp run, network", there.dvc(*start, "-S", "network=mlp")
    note = there.folder / "src/runforge/networks/mlp.py"
    note.write_text(note.read_text() + "# not committed\n")
    yield "dvc exp run --temp", there.dvc(*start, "--temp", "-S", f"{rate}=0.02")
    if not quick:
        there.project.run("dvc", "exp", "run", "--queue", "-S", "seed=9", **there.environment)
        yield "dvc queue start", _queued(there)


def dirty_trees(there: Made, quick: bool) -> Iterator[tuple[str, str]]:
    """A network changed and not committed; a new one beside it."""
    dirty(there.project)
    yield "train, dirty tree", there.train("network=mlp", "seed=7")
    if not quick:
        yield "train, dirty tree, new network", there.train("network=wide", "seed=7")


def _queued(there: Made) -> str:
    before = len(there.runs())
    there.project.run("dvc", "queue", "start", **there.environment)
    for _ in range(600):
        newest = there.runs()[0]
        if len(there.runs()) > before and newest.info.status == "FINISHED":
            return str(newest.info.run_id)
        time.sleep(1)
    raise TimeoutError("the queue does not end")


def identical(there: Made, parts: list[str], quick: bool) -> Iterator[Row]:
    """Every kind of run; the work tree has gone on since."""
    every = [one for part in parts for one in KINDS[part](there, quick)]
    dirty(there.project, LINE)
    before, found, seconds = untouched(there), [], []
    for kind, run_id in every:
        start = time.monotonic()
        verdict = _verdict(there, run_id)
        seconds.append(time.monotonic() - start)
        found.append(verdict["verdict"] == "identical")
        patch = there.tags(run_id)["runforge.patch"]
        yield (
            kind,
            f"{verdict['verdict']}, {len(verdict['checks'])} checks, patch {patch}",
            found[-1],
        )
    if every:
        yield "identical", f"{sum(found)} of {len(found)}", all(found)
        yield "the user's files, index, branches", "as before", untouched(there) == before
        yield "duration", f"{sum(seconds) / len(seconds):.0f} s each", True


def causes(there: Made, folder: Path) -> Iterator[Row]:
    """Each change by itself, on a run of its own."""
    named = []
    dirty(there.project)
    lines, package = there.train("network=mlp", "seed=21"), there.train("network=mlp", "seed=22")
    value, byte = there.train("network=mlp", "seed=23"), there.train("network=mlp", "seed=24")
    other_line(there, lines)
    other_value(there, value)
    path = f"{there.folder}/src{os.pathsep}{other_package(folder / 'packages')}"
    for what, cause, run_id, environment in (
        ("one value of the configuration", "configuration", value, {}),
        ("one line of code", "code", lines, {}),
        ("one version of a package", "environment", package, {"PYTHONPATH": path}),
        ("one byte of an image", "data", byte, {}),
    ):
        if cause == "data":
            other_byte(there)
        verdict = _verdict(there, run_id, **environment)
        named.append(verdict["verdict"] == "different" and verdict["cause"] == cause)
        yield what, f"{verdict['cause']}: {verdict['because']}", named[-1]
    yield "causes named", f"{sum(named)} of {len(named)}", all(named)


def _verdict(there: Made, run_id: str, **environment: str) -> dict[str, Any]:
    done = there.reproduce(run_id, code=None, **environment)
    if done.returncode not in (0, 4):
        return {"verdict": done.stderr.strip()[-200:], "checks": [], "cause": None, "because": ""}
    return dict(json.loads(done.stdout))


KINDS: dict[str, Callable[[Made, bool], Iterator[tuple[str, str]]]] = {
    "train": trainings,
    "sweep": sweep,
    "pipeline": pipeline,
    "experiments": experiments,
    "dirty": dirty_trees,
}


def main() -> int:
    """Prints a table, or with --json one object; returns 1 where a measure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(KINDS)}, causes")
    parser.add_argument("--quick", action="store_true", help="seven runs instead of twenty")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    options = parser.parse_args()
    chosen, rows = options.parts or [*KINDS, "causes"], []
    kinds = [part for part in chosen if part in KINDS]
    conftest.TIMEOUT_S = 3600
    with tempfile.TemporaryDirectory() as name:
        there = made(Path(name))
        last = causes(there, Path(name)) if "causes" in chosen else ()
        for part in (identical(there, kinds, options.quick), last):
            for row in part:
                rows.append(row)
                mark = "reached" if row[2] else "NOT REACHED"
                print(f"| {row[0]} | {row[1]} | {mark} |", file=sys.stderr, flush=True)
    if options.json:
        keys = ("what", "found", "reached")
        print(json.dumps({"rows": [dict(zip(keys, row, strict=True)) for row in rows]}))
    return 0 if all(row[2] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
