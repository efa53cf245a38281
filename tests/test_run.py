"""What is written to a run is there in full, and a run ends as it ended."""

from __future__ import annotations

import json
import math
import os
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from runforge.errors import StoreError
from runforge.journal import Journal, MetricPoint
from runforge.tracking import intervals
from runforge.tracking.forward import Forwarder
from runforge.tracking.origin import WHILE_RUNNING
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from runforge.tracking.system import system_metrics


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_store(tmp_path_factory.mktemp("project"), "runs")


@pytest.fixture
def run(store: Store) -> Run:
    return Run.start(store, "run", {})


def recorded(run: Run):
    return run.client.get_run(run.run_id)


def artifact(run: Run, name: str) -> Path:
    return Path(recorded(run).info.artifact_uri.removeprefix("file://")) / name


def history(run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in run.client.get_metric_history(run.run_id, name)]


def test_a_run_says_who_and_where(store):
    run = Run.start(store, "my run", {"runforge.git_commit": "abc", "mine": "yes"})
    found = recorded(run)
    tags = found.data.tags
    assert (found.info.run_name, found.info.status) == ("my run", "RUNNING")
    assert tags["runforge.host"] == socket.gethostname()
    assert tags["runforge.pid"] == str(os.getpid())
    assert tags["mlflow.source.git.commit"] == tags["runforge.git_commit"] == "abc"
    assert tags["mine"] == "yes" and tags["mlflow.user"]
    assert tags["mlflow.source.name"] and tags["mlflow.source.type"] == "LOCAL"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_ends_with_status_and_cause(run, status):
    run.end(status, "http://me:hunter2@host: no answer" if status != "FINISHED" else None)
    found = recorded(run)
    assert found.info.status == status and found.info.end_time
    expected = None if status == "FINISHED" else "http://***@host: no answer"
    assert found.data.tags.get("runforge.error") == expected


def test_a_resumed_run_is_running_again(store, run):
    run.end("FAILED", "because")
    again = Run.resume(store, run.run_id)
    assert recorded(again).info.status == "RUNNING"
    again.end("FINISHED")
    assert recorded(run).info.status == "FINISHED"


def test_a_trial_knows_its_sweep(store, run):
    trial = Run.start(store, "trial", {}, parent=run.run_id)
    assert recorded(trial).data.tags["mlflow.parentRunId"] == run.run_id


def test_parameters_in_full_and_in_any_number(run):
    many = {f"group.key_{i}": str(i) for i in range(250)} | {"long": "x" * 6000}
    run.log_parameters(many)
    assert recorded(run).data.params == many
    assert "runforge.parameters_left_out" not in recorded(run).data.tags


def test_a_parameter_too_long_is_left_out_and_named(run):
    run.log_parameters({"short": "1", "text": "x" * 6001})
    assert recorded(run).data.params == {"short": "1"}
    assert recorded(run).data.tags["runforge.parameters_left_out"].endswith("configuration: text")


def test_secrets_are_not_recorded(run, store):
    run.log_parameters({"db.password": "hunter2", "tokens": "3", "at": "s3://me:hunter2@b/c"})
    assert recorded(run).data.params == {
        "db.password": "***",
        "tokens": "3",
        "at": "s3://***@b/c",
    }
    assert "hunter2" not in Path(store.uri.removeprefix("sqlite:///")).read_text("latin-1")


def test_metrics_in_batches_one_by_one_equal(run, store):
    points = [MetricPoint("loss", 1 / (s + 1), s, 1000 + s) for s in range(2500)]
    run.log_metrics(points)
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as database:
        rows = database.execute(
            "select step, value, timestamp from metrics where run_uuid = ? order by step",
            (run.run_id,),
        ).fetchall()
    database.close()
    assert rows == [(p.step, p.value, p.timestamp_ms) for p in points]


def test_values_that_are_not_finite_are_told(run):
    points = [MetricPoint("loss", v, s, 1) for s, v in enumerate([1.0, math.nan, math.inf])]
    run.log_metrics(points)
    assert recorded(run).data.tags["runforge.not_finite"] == "loss was nan at step 1"
    assert [math.isnan(value) for _, value in history(run, "loss")] == [False, True, False]


def test_a_name_that_would_merge_is_refused(run):
    points = [MetricPoint("f1/b@c", 1.0, 0, 1), MetricPoint("f1/b?c", 0.0, 0, 1)]
    with pytest.raises(ValueError, match="'f1/b@c' can't name a metric"):
        run.log_metrics(points)
    assert recorded(run).data.metrics == {}


def test_figures_leave_out_what_is_undefined(run):
    run.log_figures({"test/accuracy": 0.9, "test/auc": None})
    assert recorded(run).data.metrics == {"test/accuracy": 0.9}


def test_ends_of_intervals_are_no_metrics_and_each_split_keeps_its_own(run):
    pair = {"test/accuracy_low": 0.1 + 0.2, "test/accuracy_high": 0.95}
    run.log_figures({"test/accuracy": 0.9, **pair, "test/so_low": 0.5})
    run.log_figures({"train/accuracy": 1.0, "train/accuracy_low": 0.99, "train/accuracy_high": 1})
    found = recorded(run).data
    assert found.metrics == {"test/accuracy": 0.9, "test/so_low": 0.5, "train/accuracy": 1}
    ends = intervals.ends_in(found.tags)
    assert ends == {"test/accuracy": (0.1 + 0.2, 0.95), "train/accuracy": (0.99, 1)}
    run.log_figures({"test/accuracy": 0.8})
    assert intervals.ends_in(recorded(run).data.tags).keys() == {"train/accuracy"}


def test_more_intervals_than_a_tag_holds_are_metrics(run):
    names = [f"test/{number:060}" for number in range(120)]
    figures = {f"{n}{end}": 0.123 for n in names for end in ("", "_low", "_high")}
    run.log_figures(figures)
    assert recorded(run).data.metrics == figures


@pytest.mark.parametrize(
    "tag", ["", "[", "[1]", '{"a": 1}', '{"a": ["x", 2]}', "[" * 10**5, "null"]
)
def test_an_altered_tag_has_no_intervals(tag):
    assert intervals.ends_in({intervals.TAG: tag}) == {}


def test_a_description_is_written_anew_but_not_over_a_person_s(run):
    run.describe("| accuracy | 0.9 |")
    run.describe("| accuracy | 0.8 |")
    there = recorded(run).data.tags["mlflow.note.content"]
    assert there.startswith("| accuracy | 0.8 |\n") and "0.9" not in there
    run.set_tags({"mlflow.note.content": "the one for the paper"})
    run.describe("| accuracy | 0.7 |")
    assert recorded(run).data.tags["mlflow.note.content"] == "the one for the paper"


def test_what_names_the_driver_s_process_goes_when_the_run_ends(run):
    assert recorded(run).data.tags.keys() >= WHILE_RUNNING
    run.end("FINISHED")
    tags = recorded(run).data.tags
    assert not WHILE_RUNNING & tags.keys() and tags["runforge.host"] == socket.gethostname()
    run.end("FINISHED")


def test_a_long_tag_says_that_it_was_cut(run):
    run.set_tags({"note": "x" * 9000} | {f"t{i}": "v" for i in range(150)})
    tags = recorded(run).data.tags
    assert len(tags["note"]) == 8000 and tags["note"].endswith("… [cut, 9000 characters]")
    assert tags["t149"] == "v"


def test_artifacts(run, tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "a.txt").write_text("a")
    (tmp_path / "folder" / "inner").symlink_to("deep/a.txt")
    run.log_folder(tmp_path / "folder", "bundle")
    run.log_file(tmp_path / "folder" / "deep" / "a.txt", "data")
    run.log_text("größe: 1\n", "configuration.yaml")
    assert artifact(run, "bundle/deep/a.txt").read_text() == "a"
    assert artifact(run, "data/a.txt").read_text() == "a"
    assert artifact(run, "configuration.yaml").read_text(encoding="utf-8") == "größe: 1\n"


def test_a_link_out_of_the_folder_is_refused(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "name").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="folder/name: a link that leads out"):
        run.log_folder(tmp_path / "folder", "bundle")
    assert not artifact(run, "bundle").exists()


def test_a_picture_is_where_the_ui_looks_for_it(run, tmp_path):
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "confusion.png")
    run.log_picture(tmp_path / "confusion.png", "test/confusion")
    assert recorded(run).data.tags["mlflow.loggedImages"] == "True"
    (written,) = artifact(run, "images").glob("test~confusion+step+0+timestamp+*.png")
    with Image.open(written) as picture:
        assert picture.size == (8, 6) and picture.getpixel((0, 0)) == (255, 0, 0)


def test_a_table_reads_back_through_mlflow(run, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    run.log_table("trials.json", [{"name": "a", "loss": 0.5}, {"name": "b", "loss": math.nan}])
    run.log_table("more.json", [{"x": 1}, {"x": None, "y": "z"}])
    table = run.client.load_table(recorded(run).info.experiment_id, "trials.json", [run.run_id])
    assert list(table["name"]) == ["a", "b"]
    assert table["loss"][0] == 0.5 and math.isnan(table["loss"][1])
    written = json.loads(artifact(run, "more.json").read_text())
    assert written == {"columns": ["x", "y"], "data": [[1, None], [None, "z"]]}
    named = json.loads(recorded(run).data.tags["mlflow.loggedArtifacts"])
    assert sorted(one["path"] for one in named) == ["more.json", "trials.json"]


def test_the_data_set_is_an_input(run):
    run.log_dataset(
        name="digits",
        digest="f" * 64,
        source="data",
        schema={"classes": ["0", "1"]},
        profile={"num_rows": 1797},
        context="training",
    )
    (given,) = recorded(run).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "f" * 12)
    assert json.loads(given.dataset.profile) == {"num_rows": 1797}
    assert json.loads(given.dataset.source) == {"uri": "data"}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_the_forwarder_sends_while_the_worker_writes_and_the_rest_at_the_end(run, tmp_path):
    path = tmp_path / "journal.jsonl"
    with Forwarder(run, path), Journal(path) as journal:
        journal.append({"loss": 1.0}, step=0, epoch=0)
        deadline = time.monotonic() + 5
        while not recorded(run).data.metrics and time.monotonic() < deadline:
            time.sleep(0.05)
        assert history(run, "loss") == [(0, 1.0)]
        for step in range(1, 1200):
            journal.append({"loss": 1 / (step + 1)}, step=step, epoch=step // 600)
    assert sorted(history(run, "loss")) == [(s, 1 / (s + 1)) for s in range(1200)]
    assert history(run, "epoch") == [(0, 0.0), (600, 1.0)]
    assert not [t for t in threading.enumerate() if t.name == "runforge-forwarder"]


def test_the_forwarders_error_is_raised_at_the_end(run, tmp_path):
    (tmp_path / "journal.jsonl").write_text(
        '{"metrics": {"b@c": 1}, "step": 0, "timestamp_ms": 1}\n'
    )
    forwarder = Forwarder(run, tmp_path / "journal.jsonl")
    forwarder._thread.join(5)
    assert not forwarder._thread.is_alive()
    with pytest.raises(ValueError, match="can't name a metric"):
        forwarder.close()


def test_what_the_store_did_not_take_is_sent_again(store, run, tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"loss": 0.5}, step=3)
    run.client.delete_run(run.run_id)  # writing to it is refused while it is deleted
    forwarder = Forwarder(run, tmp_path / "journal.jsonl")
    time.sleep(0.8)
    run.client.restore_run(run.run_id)
    forwarder.close()
    assert history(run, "loss") == [(3, 0.5)]


def test_what_the_store_never_takes_is_raised(store, run, tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"loss": 0.5}, step=3)
    run.client.delete_run(run.run_id)
    with pytest.raises(MlflowException, match="active"), Forwarder(run, tmp_path / "journal.jsonl"):
        pass


def test_system_metrics_come_and_end_without_a_word(run, tmp_path, capfd):
    threads = set(threading.enumerate())
    journal = tmp_path / "system-journal.jsonl"
    for duration_s in (1.6, 0.8):
        with Forwarder(run, journal), system_metrics(journal, interval_s=0.3):
            time.sleep(duration_s)
    steps = [step for step, _ in history(run, "system/cpu_utilization_percentage")]
    assert len(steps) >= 4 and steps == list(range(len(steps)))
    assert recorded(run).data.metrics["system/system_memory_usage_megabytes"] > 0
    assert set(threading.enumerate()) == threads
    assert capfd.readouterr().err == ""


def test_figures_of_a_second_evaluation_are_stored_where_they_differ(run):
    run.log_figures({"test/accuracy": 0.9, "test/f1": 0.8})
    time.sleep(0.002)
    run.log_figures({"test/accuracy": 0.9, "test/f1": 0.7})
    assert history(run, "test/accuracy") == [(0, 0.9)]
    assert recorded(run).data.metrics["test/f1"] == 0.7
