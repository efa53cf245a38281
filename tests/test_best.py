"""`best` goes by validation, among runs of the same samples and metric; never by test figures."""

from __future__ import annotations

import math
import time

import pytest

from runforge import selection
from runforge.errors import StoreError
from runforge.tracking import search as searching
from runforge.tracking.find import find_run, find_runs
from runforge.tracking.finished import finished_runs
from runforge.tracking.run import Run
from runforge.tracking.search import search
from runforge.tracking.store import Store, open_store


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "first")


@pytest.fixture
def store(one_store: Store, tmp_path_factory, request, monkeypatch) -> Store:
    """An experiment of its own for each test, in one store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one_store.uri)
    return open_store(tmp_path_factory.getbasetemp(), request.node.name)


def finished(  # noqa: PLR0913 - what a run says of itself
    store: Store,
    validation: float | None,
    test: float,
    *,
    data: str = "digits",
    held_out: str = "d1",
    metric: str = "accuracy:max",
    tags: dict[str, str] | None = None,
) -> str:
    name = metric.partition(":")[0]
    own = {
        "runforge.primary_metric": f"test/{metric}",
        selection.METRIC: f"validation/{metric}",
        selection.HELD_OUT: held_out,
        "runforge.data_fingerprint": f"print of {held_out}",
        **(tags or {}),
    }
    run = Run.start(store, f"{data}-cnn", {key: value for key, value in own.items() if value})
    run.log_parameters({"data.name": data})
    run.log_figures({f"test/{name}": test, f"selection/{name}": validation})
    run.end("FINISHED")
    time.sleep(0.002)  # MLflow keeps milliseconds
    return run.run_id


def earlier(store: Store, last_epoch: float, test: float, held_out: str = "d1") -> str:
    """As a version recorded it that knew no validation figure of the weights that it kept."""
    tags = {selection.METRIC: "", selection.HELD_OUT: ""}
    run_id = finished(store, None, test, held_out=held_out, tags=tags)
    Run(store, run_id).log_figures({"validation/accuracy": last_epoch})
    return run_id


def test_validation_chooses_and_test_does_not(store: Store, capsys) -> None:
    chosen = finished(store, 0.9, 0.8)
    finished(store, 0.8, 0.99)
    finished(store, 0.9, 1.0)  # as good by validation, and later
    assert find_run(store, "best").run_id == chosen
    assert capsys.readouterr().err == (
        f"best: run {chosen[:8]} (digits-cnn): validation/accuracy 0.9, "
        "the best of 3 runs on the same data (digits)\n"
    )


def test_of_a_loss_the_smallest(store: Store) -> None:
    finished(store, 2.0, 1.0, metric="log_loss:min")
    chosen = finished(store, 1.0, 2.0, metric="log_loss:min")
    finished(store, 3.0, 0.5, metric="log_loss:min")
    assert find_run(store, "best").run_id == chosen


def test_within_one_data_set_target_and_metric(store: Store, capsys) -> None:
    digits = finished(store, 0.99, 0.99)
    finished(store, 0.98, 0.999)
    cancer = finished(store, 0.7, 0.7, data="breast_cancer", held_out="b1")
    finished(store, 0.99, 0.99, data="breast_cancer", held_out="b2")  # another split of them
    values = finished(store, 0.3, 0.3, data="diabetes", held_out="v1", metric="r2:max")
    assert find_run(store, "best").run_id == values
    told = capsys.readouterr().err
    assert "validation/r2 0.3, the only run on its data (diabetes); left out: 4 runs" in told
    assert "(`best:breast_cancer`, `best:digits`)" in told
    newer = finished(store, 0.6, 0.6, data="breast_cancer", held_out="b1")
    assert find_run(store, "best").run_id == cancer != newer
    assert find_run(store, "best:digits").run_id == digits
    assert find_run(store, "best:diabetes").run_id == values
    with pytest.raises(StoreError, match="called 'cats'; there are: best:breast_cancer, best:dia"):
        find_run(store, "best:cats")


def test_the_same_samples_prepared_otherwise_are_one_data_set(store: Store) -> None:
    chosen = finished(store, 0.9, 0.5, tags={"runforge.data_fingerprint": "all columns"})
    finished(store, 0.8, 0.6, tags={"runforge.data_fingerprint": "one column less"})
    assert find_run(store, "best").run_id == chosen


def test_by_another_metric_is_another_group(store: Store) -> None:
    finished(store, 0.9, 0.9)
    chosen = finished(store, 0.1, 0.1, metric="balanced_accuracy:max")
    assert find_run(store, "best").run_id == chosen


def test_runs_of_an_earlier_version_go_by_their_last_epoch_and_it_is_said(
    store: Store, capsys
) -> None:
    old = earlier(store, 0.95, 0.2)
    earlier(store, 0.9, 0.99)
    assert find_run(store, "best").run_id == old
    assert "2 runs of an earlier version by the last epoch" in capsys.readouterr().err
    earlier(store, 0.99, 0.99, held_out="d2")
    finished(store, 0.94, 0.3)  # the same prepared set as the first two
    assert find_run(store, "best").run_id == old
    told = capsys.readouterr().err
    assert "the best of 3 runs" in told and "2 runs of an earlier version" in told
    better = finished(store, 0.96, 0.1)
    assert find_run(store, "best").run_id == better


def test_without_a_validation_figure_there_is_no_best(store: Store) -> None:
    tags = {selection.METRIC: "", selection.HELD_OUT: ""}
    run_id = finished(store, None, 0.99, tags=tags)
    finished(store, math.nan, 0.99)
    with pytest.raises(StoreError, match="has a validation figure to be chosen by") as caught:
        find_run(store, "best")
    assert run_id[:8] in str(caught.value)


def test_only_finished_runs_with_a_model_of_their_own(store: Store) -> None:
    chosen = finished(store, 0.5, 0.5)
    for tag in ("kind", "reproduces", "trained_by"):
        finished(store, 0.9, 0.9, tags={f"runforge.{tag}": "sweep"})
    failed = Run.start(store, "failed", {selection.METRIC: "validation/accuracy:max"})
    failed.log_figures({"selection/accuracy": 0.99})
    failed.end("FAILED", "why")
    deleted = finished(store, 0.9, 0.9)
    store.client.delete_run(deleted)
    assert find_run(store, "best").run_id == find_run(store, "latest").run_id == chosen


def test_beside_the_best_itself_best_is_the_best_of_the_others(store: Store, capsys) -> None:
    second, last = finished(store, 0.8, 0.9), finished(store, 0.9, 0.5)
    finished(store, 0.7, 0.9)
    latest = finished(store, 0.95, 0.1)
    assert [r.run_id for r in find_runs(store, ["best", "latest"])] == [last, latest]
    assert f"held against it: run {last[:8]}" in capsys.readouterr().err
    assert [r.run_id for r in find_runs(store, [second, "best"])] == [second, latest]


def test_a_single_run_is_found_twice(store: Store) -> None:
    only = finished(store, 0.8, 0.9)
    assert [r.run_id for r in find_runs(store, ["best", "latest"])] == [only, only]


def test_rows_say_what_mlflows_search_says(store: Store) -> None:
    finished(store, 0.8, 0.9)
    finished(store, math.nan, 0.9, data="other")
    earlier(store, 0.7, 0.6)
    Run.start(store, "sweep", {"runforge.kind": "sweep"}).end("FINISHED")
    Run.start(store, "running", {})
    by_rows = finished_runs(store, [store.experiment_id])
    by_search = search(store, "attributes.status = 'FINISHED'", experiments=[store.experiment_id])
    assert len(by_rows) == 4
    for row, whole in zip(by_rows, by_search, strict=True):
        for name in ("run_id", "name", "status", "started", "ended", "experiment_id", "parent"):
            assert getattr(row, name) == getattr(whole, name)
        assert row.tags.items() <= whole.tags.items() and row.data_name == whole.data_name
        assert row.has_model == whole.has_model
        chosen_by = {n: v for n, v in whole.metrics.items() if not n.startswith("test/")}
        assert repr(row.metrics) == repr(chosen_by)


def test_every_page_of_a_search_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [finished(store, number / 10, 0.5) for number in range(7)][::-1]
    monkeypatch.setattr(searching, "PAGE", 3)
    here = [store.experiment_id]
    assert [run.run_id for run in search(store, experiments=here)] == ids
    assert [run.run_id for run in search(store, experiments=here, count=5)] == ids[:5]


def test_a_deleted_run_says_how_it_comes_back(store: Store) -> None:
    run_id = finished(store, 0.5, 0.5, data="gone")
    store.client.delete_run(run_id)
    for reference in (run_id, run_id[:8], "gone-cnn"):
        with pytest.raises(StoreError, match=f"was deleted; .*restore --run-id {run_id}`"):
            find_run(store, reference)
    store.client._tracking_client.store._hard_delete_run(run_id)
    with pytest.raises(StoreError, match=f"called '{run_id}', or `mlflow gc` has removed it"):
        find_run(store, run_id)
