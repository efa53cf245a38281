"""Where runs are recorded: which store, made once, and one clear line where it can't be."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import threading
import time
from contextlib import closing

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from runforge.errors import RunforgeError, StoreError
from runforge.places import outermost_project
from runforge.tracking.run import Run
from runforge.tracking.store import errors_of_store, open_store, store_uri


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("copy", ["tmpab12", "standalone/tmpab12", "tmpab12/deeper"])
def test_a_temporary_copy_belongs_to_its_project(tmp_path, copy):
    inside = tmp_path / ".dvc" / "tmp" / "exps" / copy
    assert outermost_project(inside) == tmp_path.resolve()
    assert store_uri(inside) == f"sqlite:///{tmp_path.resolve()}/mlflow.db"


@pytest.mark.parametrize("folder", ["a/b", ".dvc/tmp", "dvc/tmp/exps", "a/.dvc/exps"])
def test_any_other_folder_is_its_own_project(tmp_path, folder):
    assert outermost_project(tmp_path / folder) == (tmp_path / folder).resolve()


def test_the_variable_is_used_and_made_absolute(tmp_path, monkeypatch):
    inside = tmp_path / ".dvc" / "tmp" / "exps" / "tmpab12"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/all.db")
    assert store_uri(inside) == f"sqlite:///{tmp_path}/runs/all.db"
    for absolute in ("sqlite:////somewhere/all.db", "http://localhost:5000", "postgresql://h/d"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", absolute)
        assert store_uri(inside) == absolute


@pytest.mark.parametrize(
    "folder", ["mlruns", "file:mlruns", "./mlruns", "file:///somewhere/mlruns"]
)
def test_a_folder_is_refused(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder)
    with pytest.raises(
        StoreError,
        match=r"MLFLOW_TRACKING_URI: .*; write `MLFLOW_TRACKING_URI=sqlite:.*, or unset it",
    ):
        store_uri(tmp_path)


def test_everything_lies_in_the_project_where_a_bare_ui_finds_it(tmp_path, monkeypatch, capfd):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / ".gitignore").write_text("*\n!.gitignore\n")
    store = open_store(tmp_path / ".dvc" / "tmp" / "exps" / "tmpab12", "first")
    run = Run.start(store, "one", {})
    run.log_text("hello", "note.txt")
    assert (tmp_path / "mlruns" / store.experiment_id / run.run_id / "artifacts/note.txt").is_file()
    assert store.is_local
    assert capfd.readouterr().err == ""

    monkeypatch.chdir(tmp_path)
    assert mlflow.get_tracking_uri() == store.uri
    default = store.client.get_experiment("0")
    assert default.artifact_location == f"file://{tmp_path}/mlruns/0"


def test_opening_again_finds_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///deep/er/runs.db")
    first, again = open_store(tmp_path, "one"), open_store(tmp_path, "one")
    assert first.experiment_id == again.experiment_id
    assert (tmp_path / "deep" / "er" / "runs.db").is_file()
    started = time.perf_counter()
    open_store(tmp_path, "two")
    assert time.perf_counter() - started < 1


def test_a_deleted_experiment_is_refused_and_can_be_restored(tmp_path):
    store = open_store(tmp_path, "mine")
    store.client.delete_experiment(store.experiment_id)
    mend = f"mlflow experiments restore --experiment-id {store.experiment_id}"
    with pytest.raises(StoreError, match=mend):
        open_store(tmp_path, "mine")
    store.client.restore_experiment(store.experiment_id)
    assert open_store(tmp_path, "mine").experiment_id == store.experiment_id


def test_a_file_that_is_no_store(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(
        StoreError, match=r"mlflow\.db: the store can't be opened: .*not a database"
    ):
        open_store(tmp_path, "mine")


def test_a_full_disk_is_no_fault_of_the_address():
    with (
        pytest.raises(RunforgeError, match=r"mlflow\.db: no space left on the disk; make room"),
        errors_of_store("sqlite:///mlflow.db"),
    ):
        raise sqlite3.OperationalError("database or disk is full")


def test_what_mlflow_raises_it_does_not_print_as_well(tmp_path, capfd):
    client = open_store(tmp_path, "mine").client
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("DROP TABLE metrics")
    with pytest.raises(MlflowException):
        client.log_metric(client.create_run("0").info.run_id, "loss", 1.0)
    assert "Traceback" not in capfd.readouterr().err


def test_a_closed_port_is_told_at_once_without_the_password(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@127.0.0.1:{port}")
    started = time.perf_counter()
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path, "mine")
    assert time.perf_counter() - started < 5
    assert f"http://***@127.0.0.1:{port}: the tracking server does not answer" in str(caught.value)
    assert "hunter2" not in str(caught.value) and "unset MLFLOW_TRACKING_URI" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_silent_is_told_within_five_seconds(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        started = time.perf_counter()
        with pytest.raises(StoreError, match="does not answer"):
            open_store(tmp_path, "mine")
        assert time.perf_counter() - started < 5


def test_a_server_out_of_order(tmp_path, monkeypatch):
    with failing_server() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(StoreError, match=r"out of order \(HTTP status 503\)"):
            open_store(tmp_path, "mine")


class Failing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)

    def log_message(self, *arguments):
        pass


class failing_server:  # noqa: N801 - used as a function
    def __enter__(self):
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Failing)
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
