"""How long commands take to start, beside what they can't do without.

`python benchmarks/startup.py [--quick] [--json] [PART…]`, from the project's folder. Whole
processes, in turns, on a small project that has run once before. Parts (default: all):

* help: `runforge --help`, beside Python that does nothing;
* runs, compare: beside a script that asks MLflow's own client for the runs (aim: 3 s);
* repro: `dvc repro` with nothing to do, beside `dvc status` (aim: 1.15 ×); the same for four
  stages of one small file each, which is what DVC takes whatever a project holds;
* train: `runforge train` from its start to the end of its first step, beside
  `python -c "import torch, pytorch_lightning"` (aim: 1.15 ×).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402
from tests.conftest import Project, clean_environment, make_project, thin_out  # noqa: E402

LEAST = ("trainer.max_epochs=1", "trainer.steps_per_epoch=1", "trainer.log_every_steps=1")
SEARCH = """
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
experiments = [one.experiment_id for one in client.search_experiments()]
for run in client.search_runs(experiments, max_results=20):
    print(run.info.run_id, run.info.run_name, run.info.status, run.data.metrics)
"""
STAGES = "".join(
    f"  {name}:\n    cmd: cp {name}.in {name}.out\n    deps: [{name}.in]\n    outs: [{name}.out]\n"
    for name in "abcd"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A figure and what it is to be at most."""

    name: str
    value: float
    most: float


def main() -> int:
    """Prints the tables, or with --json one object; returns 1 where an aim is not reached."""
    given = _options()
    rounds = 3 if given.quick else 15
    with tempfile.TemporaryDirectory() as folder:
        project, plain = _project(Path(folder)), _plain_stages(Path(folder) / "plain")
        judged = [
            one for part in given.parts or PARTS for one in PARTS[part](project, plain, rounds)
        ]
    for one in judged:
        mark = "reached" if one.value <= one.most else "not reached"
        print(f"{one.name}: {one.value:.2f} (at most {one.most}: {mark})", file=sys.stderr)
    if given.json:
        ratios = {one.name: one.value for one in judged}
        print(json.dumps({"ratio": judged[-1].value, "figures": ratios}))
    return int(any(one.value > one.most for one in judged))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    return parser.parse_args()


def _project(folder: Path) -> Project:
    """A small project whose pipeline has run, with two runs in its store."""
    project = make_project(folder / "project")
    project.runforge("sample", "digits")
    thin_out(project.folder / "data", 20)
    project.edit("conf/trainer/default.yaml", "max_epochs: 10", "max_epochs: 1")
    project.run("dvc", "add", "--quiet", "data")
    project.run("dvc", "repro", "--quiet")
    project.runforge("train", "seed=1", *LEAST)
    return project


def _plain_stages(folder: Path) -> Project:
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.in").write_text(name)
    (folder / "dvc.yaml").write_text(f"stages:\n{STAGES}")
    project = Project(folder)
    project.git("init", "--quiet")
    project.run("dvc", "init", "--quiet")
    for key in ("analytics", "check_update"):
        project.run("dvc", "config", f"core.{key}", "false")
    project.run("dvc", "repro", "--quiet")
    return project


def _command(project: Project, *command: str) -> Callable[[], object]:
    def call() -> None:
        subprocess.run(
            command,
            cwd=project.folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    return call


def _runforge(project: Project, *arguments: str) -> Callable[[], object]:
    return _command(project, "runforge", *arguments)


def _help(project: Project, plain: Project, rounds: int) -> list[Judged]:
    works = {
        "python -c pass": _command(project, sys.executable, "-c", "pass"),
        "runforge --help": _runforge(project, "--help"),
    }
    found = turns.in_turns(works, rounds)
    turns.show("help", found, "seconds", "python -c pass")
    return [Judged("runforge --help, s", statistics.median(found["runforge --help"]), 0.3)]


def _reading(project: Project, plain: Project, rounds: int, *arguments: str) -> list[Judged]:
    name = " ".join(("runforge", *arguments))
    works = {
        "MLflow's client": _command(project, sys.executable, "-c", SEARCH),
        name: _runforge(project, *arguments),
    }
    found = turns.in_turns(works, rounds)
    turns.show(arguments[0], found, "seconds", "MLflow's client")
    return [Judged(f"{name}, s", statistics.median(found[name]), 3.0)]


def _runs(project: Project, plain: Project, rounds: int) -> list[Judged]:
    return _reading(project, plain, rounds, "runs")


def _compare(project: Project, plain: Project, rounds: int) -> list[Judged]:
    listed = json.loads(project.runforge("runs", "--json").stdout)
    ids = [run["id"] for run in listed if run["kind"] == "run" and run["primary"]]
    return _reading(project, plain, rounds, "compare", *(one[:8] for one in ids[:2]))


def _repro(project: Project, plain: Project, rounds: int) -> list[Judged]:
    works = {
        "dvc status": _command(project, "dvc", "status"),
        "dvc repro": _command(project, "dvc", "repro"),
        "dvc status, four small stages": _command(plain, "dvc", "status"),
        "dvc repro, four small stages": _command(plain, "dvc", "repro"),
    }
    found = turns.in_turns(works, rounds)
    turns.show("repro", found, "seconds", "dvc status")
    own = turns.ratio(found, "dvc repro, four small stages", "dvc status, four small stages")
    print(f"DVC's own repro to status: {own:.2f}", file=sys.stderr)
    return [Judged("dvc repro to dvc status", turns.ratio(found, "dvc repro", "dvc status"), 1.15)]


def _train(project: Project, plain: Project, rounds: int) -> list[Judged]:
    imports = _command(project, sys.executable, "-c", "import torch, pytorch_lightning")
    works = {
        "import": lambda: turns.seconds(imports),
        "runforge train": lambda: _first_step_s(project),
    }
    found = turns.in_turns(works, rounds, lambda work: float(str(work())))
    turns.show("train, to the end of its first step", found, "seconds", "import")
    name = "runforge train to its first step, to importing torch and Lightning"
    return [Judged(name, turns.ratio(found, "runforge train", "import"), 1.15)]


def _first_step_s(project: Project) -> float:
    """From the command to the time that the journal notes with the first step."""
    began = time.time()
    done = subprocess.run(
        ["runforge", "train", *LEAST],
        cwd=project.folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    journal = project.folder / "out" / "runs" / done.stdout.strip() / "journal.jsonl"
    with journal.open() as file:
        first = json.loads(file.readline())
    return float(first["timestamp_ms"]) / 1000 - began


PARTS: dict[str, Callable[[Project, Project, int], list[Judged]]] = {
    "help": _help,
    "runs": _runs,
    "compare": _compare,
    "repro": _repro,
    "train": _train,
}

if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(main())
