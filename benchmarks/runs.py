"""How long `runforge runs` takes over a store with many runs.

`python benchmarks/runs.py [FOLDER] [--runs 1000] [--times 5] [--quick] [--json]`, from the
project's folder. FOLDER: a project that is made where it is not there, so that
a second call measures only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Param, RunTag  # noqa: E402

from runforge import config  # noqa: E402
from runforge.config import flatten  # noqa: E402
from runforge.tracking.store import open_store  # noqa: E402
from tests.conftest import Project, clean_environment, make_project  # noqa: E402

MAIN = ("accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "log_loss", "calibration_error")
TAGS = ("git_commit", "git_branch", "command", "python", "platform", "cpu", "packages", "host")


def fill(folder: Path, count: int) -> None:
    """Runs with as many parameters, metrics and tags as a training records."""
    store = open_store(folder, "digits")
    generator = random.Random(0)
    parameters = flatten(config.compose(ROOT).values)
    params = [Param(name, str(value)) for name, value in parameters.items()]
    tags = [RunTag(f"runforge.{name}", "x" * 40) for name in TAGS]
    tags.append(RunTag("runforge.primary_metric", "test/accuracy:max"))
    start = int(time.time() * 1000)
    for number in range(count):
        made = store.client.create_run(
            store.experiment_id, start_time=start + number * 1000, run_name=f"seed={number}"
        )
        metrics = []
        for name in (*MAIN, *(f"train/{n}" for n in MAIN)):
            value = generator.random()
            ends = {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
            metrics += [Metric(f"test/{n}", v, start, 0) for n, v in ends.items()]
        store.client.log_batch(made.info.run_id, metrics, params, tags)
        store.client.set_terminated(made.info.run_id, "FINISHED", start + number * 1000 + 500)


def measure(project: Project, times: int, *arguments: str) -> dict[str, Any]:
    """Seconds of whole processes, and of their work on the processor."""
    walls, works = [], []
    for _ in range(times + 1):
        before, begin = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "runforge", "runs", *arguments],
            cwd=project.folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = os.times()
        walls.append(time.perf_counter() - begin)
        user, system = (getattr(after, f"children_{k}") for k in ("user", "system"))
        works.append(user + system - before.children_user - before.children_system)
    return {
        "command": " ".join(("runforge runs", *arguments)),
        "wall_s": round(statistics.median(walls[1:]), 2),
        "processor_s": round(statistics.median(works[1:]), 2),
    }


def main() -> None:
    """Makes the store where it is not there, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="100 runs, twice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.times = 100, 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or Path(temporary) / "project")
        if not folder.is_dir():
            fill(make_project(folder).folder, options.runs)
        project = Project(folder)
        found = [
            measure(project, options.times, *arguments)
            for arguments in ((), ("--limit", str(options.runs)), ("--limit", "1000", "--json"))
        ]
    print(json.dumps(found) if options.json else "\n".join(map(str, found)))


if __name__ == "__main__":
    main()
