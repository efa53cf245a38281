"""What a run writes while its server is away waits on disk, and arrives in order, once."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from benchmarks.faults.processes import Server
from runforge import places
from runforge.journal import Journal, MetricPoint
from runforge.tracking.forward import Forwarder
from runforge.tracking.model_record import save_model
from runforge.tracking.outbox import Outbox
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store, sync
from runforge.tracking.writes import KINDS, Write
from tests.wire import Wire

PATIENT_S = "120"
"""For an answer: a machine with other work is no server that is away."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("outbox") / "server")
    yield made
    made.kill()


@pytest.fixture
def wire(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    made = Wire(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT_S)
    yield made
    made.close()


@pytest.fixture
def store(wire: Wire, tmp_path: Path) -> Store:
    return open_store(tmp_path, "outbox")


@pytest.fixture
def run(store: Store) -> Run:
    return Run.start(store, "run", {})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in MLflow's form."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    save_model(torch.nn.Linear(3, 1), np.ones((2, 3), np.float32), folder, run_id="0" * 32)
    return folder


@pytest.fixture
def made(tmp_path: Path, saved: Path) -> tuple[Path, Path]:
    """Where a run writes its files, and its model."""
    return tmp_path / "made", saved


def write_everything(run: Run, folder: Path, model: Path) -> None:
    """Each kind of write once, as a run does; the files are gone afterwards, as under DVC."""
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "weights").write_text("w")
    (folder / "note.csv").write_text("a,b")
    Image.new("RGB", (8, 6)).save(folder / "confusion.png")
    shutil.copytree(model, folder / "model")
    run.log_parameters({"network": "cnn"})
    run.log_text("seed: 1", "configuration.yaml")
    run.log_dataset(
        name="digits", digest="f" * 12, source="data", schema={}, profile={}, context="training"
    )
    run.log_metrics([MetricPoint("loss", 1 / (s + 1), s, 1000 + s) for s in range(1010)])
    run.log_model(folder / "model", "digits")
    run.log_folder(folder / "bundle", "bundle")
    run.log_file(folder / "note.csv", "data")
    run.log_figures({"test/accuracy": 0.5, "test/accuracy_low": 0.4, "test/accuracy_high": 0.6})
    run.describe("| accuracy |")
    run.log_picture(folder / "confusion.png", "confusion")
    run.log_table("trials.json", [{"a": 1}])
    run.set_tags({"mine": "yes"})
    run.end("FINISHED")
    shutil.rmtree(folder)


def check_everything(run: Run, server: Server) -> None:
    """Each of them is there, and none twice."""
    found = run.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"network": "cnn"} and found.data.tags["mine"] == "yes"
    assert json.loads(found.data.tags["runforge.intervals"]) == {"test/accuracy": [0.4, 0.6]}
    assert found.data.tags["mlflow.note.content"].startswith("| accuracy |\n")
    assert len(found.inputs.dataset_inputs) == 1
    paths = {f.path for f in run.client.list_artifacts(run.run_id)}
    assert paths == {"bundle", "configuration.yaml", "data", "images", "trials.json"}
    assert [f.path for f in run.client.list_artifacts(run.run_id, "data")] == ["data/note.csv"]
    assert len(run.client.list_artifacts(run.run_id, "images")) == 2  # whole, and small
    condition = f"source_run_id = '{run.run_id}'"
    (model,) = run.client.search_logged_models([found.info.experiment_id], condition)
    assert model.status == "READY" and [m.value for m in model.metrics] == [0.5]
    assert rows(server, run) == {"loss": 1010, "test/accuracy": 1}


def rows(server: Server, run: Run) -> dict[str, int]:
    """How many points of each metric the server has."""
    query = "SELECT key, count(*) FROM metrics WHERE run_uuid = ? GROUP BY key"
    with closing(sqlite3.connect(server.database)) as connection:
        return dict(connection.execute(query, (run.run_id,)).fetchall())


def outbox(run: Run, store: Store) -> Path:
    return places.run_folder(store.project, run.run_id) / "outbox"


def test_everything_waits_and_arrives_once(wire, run, server, made, capfd):
    project = made[0].parent
    waiting = places.run_folder(project, run.run_id) / "outbox"
    wire.become("cut")
    write_everything(run, *made)
    (line,) = capfd.readouterr().err.splitlines()
    assert "`runforge sync`" in line and wire.address in line and str(waiting) in line
    kinds = {
        json.loads(line)["kind"] for line in (waiting / "writes.jsonl").read_text().splitlines()
    }
    assert kinds == KINDS.keys()
    wire.become("whole")
    assert run.client.get_run(run.run_id).info.status == "RUNNING"
    ended_before = time.time() * 1000
    time.sleep(0.01)
    open_store(project, "outbox")
    check_everything(run, server)
    assert run.client.get_run(run.run_id).info.end_time <= ended_before
    assert "writes that had waited were delivered" in capfd.readouterr().err
    assert not waiting.exists()
    assert sync(project) == []


def test_everything_delivered_twice_is_there_once(wire, store, run, server, made):
    wire.become("cut")
    write_everything(run, *made)
    shutil.copytree(outbox(run, store), store.project / "kept")
    wire.become("whole")
    sync(store.project)
    # As of a command that was killed before it could note what it had delivered.
    shutil.move(store.project / "kept", outbox(run, store))
    assert [d.problem for d in sync(store.project)] == [None]
    check_everything(run, server)


def test_a_write_whose_answer_got_lost_is_not_doubled(wire, store, run, server):
    wire.become("no answers")
    run.log_metrics([MetricPoint("loss", 0.5, 1, 1000)])
    assert rows(server, run) == {"loss": 1}
    assert outbox(run, store).exists()
    wire.become("whole")
    assert [d.problem for d in sync(store.project)] == [None]
    assert rows(server, run) == {"loss": 1}


def test_a_killed_delivery_goes_on_where_it_was(wire, store, run, server):
    wire.become("cut")
    run.set_tags({"first": "1"})
    run.set_tags({"second": "2"})
    with (outbox(run, store) / "writes.jsonl").open("a") as file:
        file.write('{"kind": "tags", "val')  # killed while it wrote
    run.set_tags({"third": "3"})
    first = len((outbox(run, store) / "writes.jsonl").read_bytes().splitlines()[0]) + 1
    (outbox(run, store) / "writes.sent").write_text(str(first))
    wire.become("whole")
    assert [(d.run_id, d.writes) for d in sync(store.project)] == [(run.run_id, 2)]
    tags = run.client.get_run(run.run_id).data.tags
    assert "first" not in tags and (tags["second"], tags["third"]) == ("2", "3")


def test_the_run_itself_delivers_when_the_server_is_back(wire, store, run, monkeypatch):
    monkeypatch.setattr("runforge.tracking.outbox.RETRY_S", 0.0)
    wire.become("cut")
    run.set_tags({"name": "early"})
    wire.become("whole")
    run.set_tags({"name": "late"})
    assert run.client.get_run(run.run_id).data.tags["name"] == "late"
    assert not outbox(run, store).exists()


def test_a_silent_server_delays_a_run_twice(wire, store, run, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    wire.become("silent")
    # However long twenty writes take here; and tries are counted, not timed, for the same reason.
    monkeypatch.setattr("runforge.tracking.outbox.RETRY_S", 1000.0)
    called_before = wire.callers
    for number in range(20):
        run.set_tags({f"t{number}": "x"})
    run.end("FINISHED")
    assert wire.callers - called_before == 2  # the first, and the end
    wire.become("whole")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENT_S)
    sync(store.project)
    assert len([t for t in run.client.get_run(run.run_id).data.tags if t.startswith("t")]) == 20


def test_what_the_store_refuses_is_told_and_kept(wire, store, run):
    wire.become("cut")
    run.set_tags({"a": "b"})
    wire.become("whole")
    run.client.delete_run(run.run_id)
    for _ in range(2):
        (delivery,) = sync(store.project)
        assert "active" in delivery.problem
    with pytest.raises(MlflowException, match="active"):
        Outbox(store.client, store.project, run.run_id).give(Write("tags", {"values": {"c": "d"}}))
    run.client.restore_run(run.run_id)
    assert [d.problem for d in sync(store.project)] == [None]
    assert run.client.get_run(run.run_id).data.tags["a"] == "b"


def test_metrics_come_in_order_and_once_through_outages(wire, store, run, server, tmp_path):
    path = tmp_path / "journal.jsonl"
    states = ("whole", "cut", "no answers", "whole", "no answers", "cut")
    with Journal(path) as journal:
        with Forwarder(run, path):
            for number, state in enumerate(states):
                wire.become(state)
                for step in range(number * 100, number * 100 + 100):
                    journal.append({"loss": step / 7}, step=step, epoch=step // 50)
                time.sleep(0.7)
        assert outbox(run, store).exists()
        wire.become("whole")
        sync(store.project)
    assert rows(server, run) == {"loss": 600, "epoch": 12}
    steps = [point.step for point in run.client.get_metric_history(run.run_id, "loss")]
    assert sorted(steps) == list(range(600))
