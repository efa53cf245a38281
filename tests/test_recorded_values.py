"""What a run recorded is read alike, whether it was recorded now or by an earlier version."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from runforge import recording
from runforge.errors import StoreError
from runforge.evidence import evidence_of
from runforge.lineage import collect
from runforge.metrics.classification import classification_figures
from runforge.reproduction.comparison import metrics
from runforge.tracking.find import find_run
from runforge.tracking.run import Run
from runforge.tracking.search import PRIMARY_METRIC, RunInfo
from runforge.tracking.store import Store, open_store
from runforge.tracking.values import facts, figures, metric_values
from tests.test_evaluation import digits, write

MAIN = {
    *("accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "average_precision"),
    *("log_loss", "calibration_error"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "evaluation"
    write(folder, digits(), classification_figures(digits(), resamples=100, seed=0))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "values")


@pytest.fixture(scope="module")
def now(store: Store, folder: Path) -> RunInfo:
    run = Run.start(store, "now", {PRIMARY_METRIC: "test/accuracy:max"})
    recording.record_origin(run, collect(store.project, data_root=None, command="runforge train"))
    store.client.log_metric(run.run_id, "train/loss", 0.5, step=1)
    recording.record_evaluation(run, folder, "test")
    run.end("FINISHED")
    return find_run(store, run.run_id)


@pytest.fixture(scope="module")
def before(store: Store, folder: Path) -> RunInfo:
    """As version 0.1.0 recorded: every number a metric, every fact a tag."""
    run = Run.start(store, "before", {PRIMARY_METRIC: "test/accuracy:max"})
    origin = collect(store.project, data_root=None, command="runforge train")
    run.set_tags(origin.to_tags())
    store.client.log_metric(run.run_id, "train/loss", 0.5, step=1)
    store.client.log_metric(run.run_id, "selection/accuracy", 0.75)
    for name, value in json.loads((folder / "metrics.json").read_text()).items():
        store.client.log_metric(run.run_id, f"test/{name}", value)
    run.log_folder(folder, "evaluation")
    run.end("FINISHED")
    return find_run(store, run.run_id)


def test_charts_are_of_the_main_figures_and_tags_are_few(store: Store, now: RunInfo) -> None:
    data = store.client.get_run(now.run_id).data
    assert data.metrics.keys() == {
        *("train/loss", "selection/accuracy"),
        *(f"test/{name}" for name in MAIN),
    }
    own = {name for name in data.tags if name.startswith("runforge.")}
    assert own == {
        *("runforge.git", "runforge.command", "runforge.host"),
        *("runforge.primary_metric", "runforge.intervals"),
    }


def test_the_description_has_each_main_figure_with_its_interval(
    store: Store, now: RunInfo, folder: Path
) -> None:
    every = json.loads((folder / "metrics.json").read_text())
    note = store.client.get_run(now.run_id).data.tags["mlflow.note.content"]
    rows = [line.split(" | ") for line in note.splitlines() if line.startswith("| ")][1:]
    assert {row[0].strip("| ") for row in rows} == MAIN
    for name, value, interval in rows:
        name = name.strip("| ")
        assert float(value) == pytest.approx(every[name], rel=1e-3)
        ends = [float(end) for end in interval.strip("| ").split(" – ")]
        assert ends == pytest.approx([every[f"{name}_low"], every[f"{name}_high"]], rel=1e-3)


def test_every_figure_is_read_alike(
    store: Store, now: RunInfo, before: RunInfo, folder: Path, tmp_path: Path
) -> None:
    every = json.loads((folder / "metrics.json").read_text())
    for run in (now, before):
        place = tmp_path / run.run_id
        assert figures(store, run, place) == {f"test/{n}": v for n, v in every.items()}
        assert evidence_of(store, run).numbers == every
        for name in MAIN:
            ends = [run.metrics[f"test/{name}{end}"] for end in ("_low", "_high")]
            assert ends == [every[f"{name}_low"], every[f"{name}_high"]]
    check = metrics(*(metric_values(store, run, tmp_path / run.run_id) for run in (before, now)))
    assert (check.state, check.text) == ("identical", f"{len(every) + 2} values")


def test_the_facts_of_the_machine_are_read_alike(
    store: Store, now: RunInfo, before: RunInfo, tmp_path: Path
) -> None:
    found = [facts(store, run, tmp_path / run.run_id) for run in (before, now)]
    for name in ("python", "platform", "cpu", "gpus", "packages", "command"):
        assert found[0][f"runforge.{name}"] == found[1][f"runforge.{name}"]
    assert found[1]["runforge.python"] == sys.version.split()[0]


def test_an_altered_file_is_told_in_one_line(store: Store, folder: Path, tmp_path: Path) -> None:
    run = Run.start(store, "altered", {PRIMARY_METRIC: "test/accuracy:max"})
    run.log_text('{"accuracy": "high"}', "evaluation/metrics.json")
    with pytest.raises(StoreError, match=r"evaluation/metrics.json of run .* was altered"):
        figures(store, find_run(store, run.run_id), tmp_path)
