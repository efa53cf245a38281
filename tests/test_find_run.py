"""A run is found by what a person would call it, or not found with candidates."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runforge.errors import StoreError
from runforge.tracking.artifacts import download_bundle, fetch_file
from runforge.tracking.find import children, find_run, recent_runs
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store

SCORE = {"runforge.primary_metric": "test/accuracy:max"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "empty")


@pytest.fixture
def store(empty: Store, tmp_path_factory, request, monkeypatch) -> Store:
    """An experiment of its own for each test, in one store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty.uri)
    return open_store(tmp_path_factory.getbasetemp(), request.node.name)


def finished(store: Store, name: str, tags: dict[str, str] = SCORE, **figures: float) -> str:
    run = Run.start(store, name, tags)
    run.log_figures({f"test/{figure}": value for figure, value in figures.items()})
    run.end("FINISHED")
    time.sleep(0.002)  # MLflow keeps milliseconds
    return run.run_id


def test_nothing_recorded_yet(empty):
    for reference in ("latest", "best", "mine", "abcdef", "0" * 32):
        with pytest.raises(StoreError, match="record a run first: `runforge train`"):
            find_run(empty, reference)


def test_by_id_prefix_and_name(store):
    run_id = finished(store, 'it\'s "mine"', accuracy=0.5)
    other = finished(store, "a, b=0.01")
    assert find_run(store, run_id).run_id == run_id
    assert find_run(store, run_id[:6]).run_id == run_id
    assert find_run(store, "a, b=0.01").run_id == other
    found = find_run(store, run_id[:12])
    assert (found.name, found.status) == ('it\'s "mine"', "FINISHED")
    assert found.metrics == {"test/accuracy": 0.5}
    assert found.ended is not None and found.ended >= found.started
    with pytest.raises(StoreError, match="no run is called 'abc'"):
        find_run(store, run_id[:5] if run_id[:5] == "abc" else "abc")


def test_an_ambiguous_name_lists_up_to_five(store):
    ids = [finished(store, "twin") for _ in range(7)]
    with pytest.raises(StoreError, match="'twin' means 7 runs") as caught:
        find_run(store, "twin")
    assert [run_id for run_id in ids if run_id[:8] in str(caught.value)] == ids[2:]


def test_an_unknown_name_lists_the_last_runs(store):
    last = finished(store, "known")
    with pytest.raises(StoreError, match=rf"called 'unknown'; candidates: {last[:8]} \(known, fin"):
        find_run(store, "unknown")


def test_latest_is_the_last_that_finished_and_has_a_model(store):
    finished(store, "first")
    expected = finished(store, "second")
    Run.start(store, "running", {})
    Run.start(store, "failed", {}).end("FAILED", "why")
    sweep = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    sweep.end("FINISHED")
    assert find_run(store, "latest").run_id == expected


def test_trials_in_the_order_of_their_start(store):
    sweep = Run.start(store, "sweep", {"runforge.kind": "sweep"})
    for number, status in enumerate(("FINISHED", "FAILED", "FINISHED")):
        trial = Run.start(store, f"rate={number}", SCORE, parent=sweep.run_id)
        trial.log_parameters({"optimizer.learning_rate": str(number)})
        trial.log_figures({"test/accuracy": number / 10})
        trial.end(status)
        time.sleep(0.002)
    trials = children(store, sweep.run_id)
    assert [t.name for t in trials] == ["rate=0", "rate=1", "rate=2"]
    assert [t.status for t in trials] == ["FINISHED", "FAILED", "FINISHED"]
    assert [t.parameters["optimizer.learning_rate"] for t in trials] == ["0", "1", "2"]
    assert [t.metrics["test/accuracy"] for t in trials] == [0.0, 0.1, 0.2]
    assert {t.parent for t in trials} == {sweep.run_id}
    assert children(store, trials[0].run_id) == []
    assert recent_runs(store, count=2)[0].name == "rate=2"


def record_bundle(store: Store, folder: Path) -> str:
    """The id of a run with a bundle, and a file beside it that is none of the bundle's."""
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"\x00\x01")
    (folder / "bundle.json").write_text("{}")
    (folder / "history.csv").write_text("epoch")
    run = Run.start(store, "run", {})
    run.log_folder(folder, "bundle")
    return run.run_id


def test_a_bundle_comes_back_byte_for_byte(store, tmp_path, capfd):
    run_id = record_bundle(store, tmp_path / "model")
    for _ in range(2):
        copied = download_bundle(store, run_id, tmp_path / "out" / "bundle")
        assert copied == tmp_path / "out" / "bundle"
        assert (copied / "weights.safetensors").read_bytes() == b"\x00\x01"
        assert sorted(p.name for p in copied.rglob("*")) == ["bundle.json", "weights.safetensors"]

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bundle"]
    assert capfd.readouterr().err == ""


def test_a_run_without_a_bundle(store, tmp_path):
    with pytest.raises(
        StoreError, match=r"has no bundle: its artifacts are gone.*; name another run"
    ):
        download_bundle(store, finished(store, "run"), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_one_file_is_fetched(store: Store, tmp_path: Path) -> None:
    run = Run.start(store, "run", {})
    run.log_text("told", "evaluation/note.txt")
    fetched = fetch_file(store, run.run_id, "evaluation/note.txt", tmp_path / "here")
    assert fetched == tmp_path / "here" / "note.txt"
    assert fetched.read_text() == "told"
    assert [path.name for path in fetched.parent.iterdir()] == ["note.txt"]
    for name in ("evaluation/other.txt", "evaluation", "other/note.txt"):
        assert fetch_file(store, run.run_id, name, tmp_path) is None
