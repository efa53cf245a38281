"""From command to finished run: where every second goes, in phases that sum up to the whole.

`python benchmarks/pipeline.py [--quick] [--json] [PART…]`, from the project's folder. Parts (both
by default): `train` (`runforge train`, data prepared before) and `repro` (`dvc repro --force`: all
four stages), on the digits. A moment belongs to the innermost phase of the worker, where the driver
only waits for it, else to the driver's; what no process of runforge's has is DVC's, or Python's own
start and end.
Beside it stands importing torch and Lightning, which everybody must do once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import Project, make_project  # noqa: E402

WAITING = "runforge.launch.Launched.do"
WATCHED: dict[str, list[str]] = {
    "torch": [],
    "pytorch_lightning": [],
    "mlflow": [],
    "runforge.config": ["compose", "read_params", "write_params"],
    "runforge.launch": ["Launched.__init__", "Launched.do"],
    "runforge.one_run": [
        *("execute", "evaluate_again", "_prepared", "_origin", "open_store", "record_start"),
        *("record_data", "record_lineage", "record_model", "record_bundle", "record_evaluation"),
    ],
    "runforge.handover": ["await_job"],
    "runforge.fitting": ["run", "build", "_fit", "_save_for_mlflow"],
    "runforge.evaluating": ["run", "_model", "predict_split"],
    "runforge.evaluation": ["write_evaluation", "pictures", "_write_pictures", "page"],
    "runforge.stages.compose": ["run"],
    "runforge.stages.prepare": ["run"],
    "runforge.stages.train": ["run"],
    "runforge.stages.evaluate": ["run"],
}
COMMANDS = {"train": ("runforge", "train"), "repro": ("dvc", "repro")}


def main() -> int:
    """Prints a table for each part, or with --json one object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(COMMANDS))
    parser.add_argument("--quick", action="store_true", help="once, not five times")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder))
        for part in given.parts or COMMANDS:
            runs = [_phases(project, part) for _ in range(1 if given.quick else 5)]
            found[part] = _show(part, runs, _import_s())
    if given.json:
        print(json.dumps({"ratio": next(iter(found.values()))["ratio"], "parts": found}))
    return 0


def _project(folder: Path) -> Project:
    project = make_project(folder / "project")
    project.runforge("sample", "digits")
    project.run("dvc", "add", "--quiet", "data")
    project.runforge("train", "trainer.max_epochs=1")
    project.run("dvc", "repro", "--quiet")
    return project


def _import_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, pytorch_lightning"], check=True)
    return time.perf_counter() - began


def _phases(project: Project, part: str) -> dict[str, float]:
    """Seconds of each phase; they sum up to the whole."""
    log = project.folder / "timeline.jsonl"
    log.unlink(missing_ok=True)
    path = os.pathsep.join(
        [str(ROOT / "benchmarks" / "timeline"), os.environ.get("PYTHONPATH", "")]
    )
    watching = {"TIMELINE": str(log), "TIMELINE_WATCHED": json.dumps(WATCHED), "PYTHONPATH": path}
    force = ("fresh=true", f"seed={time.time_ns() % 10**6}") if part == "train" else ("--force",)
    began = time.time()
    project.run(*COMMANDS[part], *force, **watching)
    ended = time.time()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return _shared_out([line for line in lines if _counts(line)], began, ended)


def _counts(line: dict[str, Any]) -> bool:
    """Only processes of runforge's: DVC's own, git and the tracker of resources are the rest."""
    return not line["name"].startswith("process") or "runforge" in line["name"]


def _shared_out(lines: list[dict[str, Any]], began: float, ended: float) -> dict[str, float]:
    """Every moment to one phase."""
    workers = {line["pid"] for line in lines if "runforge.worker" in line["name"]}
    bounds = sorted({began, ended} | {line[end] for line in lines for end in ("begin", "end")})
    phases: dict[str, float] = defaultdict(float)
    for begin, end in itertools.pairwise(bounds):
        if began <= begin and end <= ended:
            phases[_owner(lines, workers, (begin + end) / 2)] += end - begin
    return dict(phases)


def _owner(lines: list[dict[str, Any]], workers: set[int], moment: float) -> str:
    there = [line for line in lines if line["begin"] <= moment < line["end"]]
    inner = {
        kind: max((one for one in there if (one["pid"] in workers) == kind), default=None,
                  key=lambda one: float(one["begin"]))
        for kind in (False, True)
    }  # fmt: skip
    driver, worker = inner[False], inner[True]
    if driver is None:
        return "DVC, and processes that start and end"
    if driver["name"] == WAITING and worker is not None:
        return "worker: " + _short(worker["name"])
    return "driver: " + _short(driver["name"])


def _short(name: str) -> str:
    if name.startswith("process"):
        return "between its phases"
    return name.replace("runforge.", "").replace("import ", "importing ")


def _show(part: str, runs: list[dict[str, float]], import_s: float) -> dict[str, Any]:
    wholes = [sum(run.values()) for run in runs]
    phases = {
        name: statistics.median(run.get(name, 0.0) for run in runs)
        for name in dict.fromkeys(name for run in runs for name in run)
    }
    ratio = statistics.median(wholes) / import_s
    print(
        f"\n{' '.join(COMMANDS[part])}\n| phase | seconds | share |\n|---|---|---|", file=sys.stderr
    )
    whole = statistics.median(wholes)
    for name, took in sorted(phases.items(), key=lambda item: -item[1]):
        if took >= 0.02:
            print(f"| {name} | {took:.2f} | {took / whole:.0%} |", file=sys.stderr)
    told = f"{min(wholes):.2f}, {whole:.2f}, {max(wholes):.2f}"
    print(f"whole (minimum, median, maximum): {told} s, {ratio:.2f} × the import", file=sys.stderr)
    return {"whole_s": whole, "phases_s": phases, "ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
