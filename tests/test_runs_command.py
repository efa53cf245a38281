"""`runforge runs`: what is listed, in which order, and what is refused in one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from runforge.tracking.run import Run
from runforge.tracking.store import open_store
from tests.conftest import Project, make_project
from tests.test_cli import one_line

SCORE = {"runforge.primary_metric": "test/accuracy:max"}
FIGURES = {
    "test/accuracy": 0.96875,
    "test/accuracy_low": 0.95,
    "test/accuracy_high": 0.98,
    "test/log_loss": 0.1,
    "test/log_loss_low": 0.05,
    "test/log_loss_high": 0.15,
    "test/f1_weighted": 0.9,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run, a sweep with two trials, one of which failed, a comparison, and another experiment."""
    made = make_project(tmp_path_factory.mktemp("runs") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        fill(made.folder)
    return made


def fill(folder: Path) -> None:
    store = open_store(folder, "digits")
    first = Run.start(store, "cnn, \x1b[31mred\x1b[0m [bold]", SCORE)
    first.log_figures(FIGURES)
    first.end("FINISHED")
    time.sleep(0.002)  # MLflow keeps milliseconds
    before = Run.start(store, "of an earlier version", SCORE)
    for name, value in FIGURES.items():
        store.client.log_metric(before.run_id, name, value)
    before.end("FINISHED")
    time.sleep(0.002)
    sweep = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    for number, status in enumerate(("FINISHED", "FAILED")):
        time.sleep(0.002)
        trial = Run.start(store, f"seed={number}", SCORE, parent=sweep.run_id)
        trial.end(status, "loss is nan" if status == "FAILED" else None)
    sweep.end("FINISHED")
    time.sleep(0.002)
    Run.start(store, "a vs b", {"runforge.kind": "comparison"}).end("FINISHED")
    time.sleep(0.002)
    Run.start(open_store(folder, "other"), "elsewhere", {}).end("KILLED", "SIGTERM")


def listed(project: Project, *arguments: str) -> list[dict]:
    return json.loads(project.runforge("runs", "--json", *arguments).stdout)


def test_everything_the_newest_first(project: Project) -> None:
    runs = listed(project)
    assert [run["name"] for run in runs] == [
        *("elsewhere", "a vs b", "seed=1", "seed=0", "sweep", "of an earlier version"),
        "cnn, \x1b[31mred\x1b[0m [bold]",
    ]
    assert [run["kind"] for run in runs] == [
        *("run", "comparison", "trial", "trial", "sweep", "run", "run")
    ]
    assert runs[2]["parent"] == runs[3]["parent"] == runs[4]["id"]
    assert runs[2]["status"] == "FAILED" and runs[2]["error"] == "loss is nan"
    first = runs[-1]
    accuracy = {"name": "test/accuracy", "value": 0.96875, "low": 0.95, "high": 0.98}
    assert first["primary"] == accuracy
    assert [one["name"] for one in first["metrics"]] == ["test/accuracy", "test/log_loss"]
    assert [runs[-2][key] for key in ("primary", "metrics")] == [accuracy, first["metrics"]]
    assert runs[0]["primary"] is None and first["duration_s"] >= 0


def test_the_table(project: Project) -> None:
    text = project.runforge("runs").stdout
    assert "test/accuracy 0.9688 (0.95 – 0.98)" in text
    assert "\x1b" not in text and "[bold]" in text
    lines = [line for line in text.splitlines() if "seed=" in line]
    sweep = next(run["id"] for run in listed(project) if run["kind"] == "sweep")
    assert all(f"trial of {sweep[:8]}" in line for line in lines) and len(lines) == 2


def test_fewer_by_number_status_and_experiment(project: Project) -> None:
    assert [r["name"] for r in listed(project, "--limit", "2")] == ["elsewhere", "a vs b"]
    assert [r["name"] for r in listed(project, "--status", "failed")] == ["seed=1"]
    assert [r["name"] for r in listed(project, "--experiment", "other")] == ["elsewhere"]
    none = project.runforge("runs", "--experiment", "other", "--status", "RUNNING")
    assert none.stdout == "no runs\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--limit", "0"), "--limit: '0' is no number of runs"),
        (("--limit", "many"), "--limit: 'many' is no number of runs"),
        (("--status", "done"), "--status: there is no status 'done'; take one of running"),
        (("--experiment", "none"), "no experiment is called 'none'; there are: "),
    ],
)
def test_mistakes_are_told_in_one_line(project: Project, arguments, told) -> None:
    done = project.runforge("runs", *arguments, code=2)
    assert told in one_line(done.stderr) and done.stdout == ""
