"""A sweep's winner is chosen by validation; its test figure is told once, and chooses nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from runforge import outcome, selection
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "sweeps")


def trial(  # noqa: PLR0913 - what a trial says of itself
    store: Store,
    parent: Run,
    name: str,
    validation: float | None,
    test: float,
    metric: str = "accuracy:max",
    held_out: str = "d1",
) -> str:
    short = metric.partition(":")[0]
    tags = {
        "runforge.primary_metric": f"test/{metric}",
        selection.METRIC: f"validation/{metric}",
        selection.HELD_OUT: held_out,
    }
    run = Run.start(store, name, tags, parent=parent.run_id)
    ends = {f"test/{short}_low": test - 0.1, f"test/{short}_high": test + 0.1}
    run.log_figures({f"selection/{short}": validation, f"test/{short}": test, **ends})
    run.end("FINISHED")
    time.sleep(0.002)  # MLflow keeps milliseconds
    return run.run_id


def table(store: Store, parent: Run) -> dict:
    return json.loads(
        Path(store.client.download_artifacts(parent.run_id, "trials.json")).read_text()
    )


def test_by_validation_and_test_is_told_once(store: Store, capsys) -> None:
    parent = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    worse = trial(store, parent, "network=cnn", 0.8, 0.99)
    best = trial(store, parent, "network=mlp", 0.9, 0.7)
    unmeasured = trial(store, parent, "network=resnet", None, 1.0)
    outcome.tell(outcome.record(store, parent))
    said = capsys.readouterr().err
    assert "validation/accuracy (chosen by)" in said
    assert [line for line in said.splitlines() if "test/" in line or "0.99" in line] == [
        "best trial network=mlp: validation/accuracy 0.9; test/accuracy 0.7 (0.6 – 0.8); "
        f"run {best[:8]}"
    ]
    run = store.client.get_run(parent.run_id).data
    assert run.tags["runforge.best_run_id"] == best
    assert run.tags[selection.METRIC] == "validation/accuracy:max"
    assert (run.metrics["selection/accuracy"], run.metrics["test/accuracy"]) == (0.9, 0.7)
    found = table(store, parent)
    assert found["columns"] == ["trial", "status", "validation/accuracy", "run_id"]
    assert [row[2:] for row in found["data"]] == [[0.9, best], [0.8, worse], [None, unmeasured]]


def test_of_an_error_the_smallest(store: Store) -> None:
    parent = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    trial(store, parent, "seed=1", 2.0, 1.0, "rmse:min")
    best = trial(store, parent, "seed=2", 1.0, 2.0, "rmse:min")
    assert outcome.record(store, parent).best.run_id == best


@pytest.mark.parametrize("other", [{"held_out": "d2"}, {"metric": "r2:max"}])
def test_different_data_or_metrics_have_no_one_winner(store: Store, other, capsys) -> None:
    parent = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    trial(store, parent, "data=a, seed=1", 0.6, 0.6)
    one = trial(store, parent, "data=a, seed=2", 0.7, 0.6)
    two = trial(store, parent, "data=b", 0.9, 0.9, **other)
    found = outcome.record(store, parent)
    outcome.tell(found)
    said = capsys.readouterr().err
    assert "no single best: the trials differ in their data or their metric; of each:" in said
    assert f"run {one[:8]}" in said and f"run {two[:8]}" in said
    run = store.client.get_run(parent.run_id).data
    assert found.best is None and "runforge.best_run_id" not in run.tags and not run.metrics


def test_no_figure_to_choose_by(store: Store, capsys) -> None:
    parent = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    trial(store, parent, "seed=1", None, 0.9)
    found = outcome.record(store, parent)
    outcome.tell(found)
    assert found.best is None
    assert "no trial has a validation figure to be chosen by" in capsys.readouterr().err
