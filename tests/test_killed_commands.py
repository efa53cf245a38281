"""Commands whose whole tree of processes is killed, late in a run and late in a sweep."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.conftest import Project
from tests.jobs import digits_project
from tests.trees import everything_below, left_in, start_in

SHORT = ("machine=cpu", "trainer.max_epochs=2", "evaluation.resamples=100")
LONG = (*SHORT[::2], "trainer.max_epochs=8", "machine.checkpoint_interval_s=0")
WRITTEN = (
    "model/weights.safetensors",
    "model/history.csv",
    "evaluation/predictions.parquet",
    "evaluation/metrics.json",
)
MEASURED = "system/"
"""How the metrics begin that are another each time."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a few digits and a store; its runs differ in their seeds."""
    made = digits_project(tmp_path_factory.mktemp("killed"))
    made.runforge("train", *SHORT, "seed=1")
    return made


def killed_when(project: Project, overrides: tuple[str, ...], has_come: Callable[[], bool]) -> None:
    """Starts a command and kills all its processes as soon as the moment has come."""
    command = (sys.executable, "-m", "runforge", "train", *overrides)
    with start_in(project.folder, *command) as process:
        while not has_come():
            assert process.poll() is None, "it ended before"
            time.sleep(0.005)
        for one in everything_below(process.pid):
            one.kill()
    assert left_in(project.folder) == []


def folders(project: Project) -> set[Path]:
    return {path for path in (project.folder / "out" / "runs").glob("*") if path.is_dir()}


def written(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in WRITTEN}


def times(run: Path) -> dict[str, int]:
    """When each output was written."""
    return {name: (run / name).stat().st_mtime_ns for name in WRITTEN if (run / name).is_file()}


def stored(project: Project, run_id: str) -> list[tuple[object, ...]]:
    """Every metric of a run, by name and step."""
    query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step, value"
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as connection:
        found = connection.execute(query, (run_id,)).fetchall()
    return [row for row in found if not row[0].startswith(MEASURED)]


def runs(project: Project, condition: str = "") -> list[Run]:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, condition))


@pytest.mark.parametrize("step", ["train", "evaluate"])
def test_what_was_done_before_a_kill_is_not_done_again(project: Project, step: str) -> None:
    (whole,) = (path for path in folders(project) if path.name == runs(project)[-1].info.run_id)
    before = folders(project)
    again = (*SHORT, "seed=1")

    def is_done() -> bool:
        return any((path / f"{step}-done.json").exists() for path in folders(project) - before)

    killed_when(project, again, is_done)
    (run,) = folders(project) - before
    kept, journal = times(run), (run / "journal.jsonl").read_bytes()
    done = project.runforge("train", *again)
    assert done.stdout.strip() == run.name
    assert f"going on with run {run.name}" in done.stderr
    assert "epoch" not in done.stderr
    assert (run / "journal.jsonl").read_bytes() == journal
    assert {name: time for name, time in times(run).items() if name in kept} == kept
    assert written(run) == written(whole)
    assert stored(project, run.name) == stored(project, whole.name)
    assert {one.info.status for one in runs(project)} == {"FINISHED"}


def test_a_sweep_killed_in_its_second_trial_goes_on_with_it(project: Project) -> None:
    before = folders(project)
    sweep = ("-m", "seed=2,3", *LONG)

    def trials() -> list[Path]:
        """The trials that have come to a checkpoint, or to their end."""
        new = folders(project) - before
        return [p for p in new if (p / "evaluate-done.json").exists() or at_work(p)]

    def at_work(run: Path) -> bool:
        return any((run / "checkpoints").glob("last-*"))

    killed_when(project, sweep, lambda: len(trials()) == 2 and any(map(at_work, trials())))
    (second,) = (path for path in trials() if at_work(path))
    (first,) = (path for path in trials() if path != second)
    kept, stood = times(first), stored(project, first.name)
    (ended,) = (r.info.end_time for r in runs(project) if r.info.run_id == first.name)
    done = project.runforge("train", *sweep)
    found = runs(project, f"tags.`mlflow.parentRunId` = '{done.stdout.strip()}'")
    assert {r.info.run_id: r.info.run_name for r in found} == {
        first.name: "seed=2",
        second.name: "seed=3",
    }
    assert {one.info.status for one in runs(project)} == {"FINISHED"}
    assert f"going on with run {second.name}" in done.stderr
    assert (times(first), stored(project, first.name)) == (kept, stood)
    assert ended == next(r.info.end_time for r in found if r.info.run_id == first.name)
