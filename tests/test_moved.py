"""A project that was moved or copied keeps its artifacts, and only its own."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runforge.tracking.moved import LOCATIONS
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a store; made once, as MLflow takes seconds for it."""
    folder = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(folder, "mine")
    return folder


def recorded(fresh: Path, project: Path) -> tuple[Store, str]:
    """A store with a run that has an artifact; the run's id."""
    shutil.copytree(fresh, project)
    return record(project)


def record(project: Path) -> tuple[Store, str]:
    store = open_store(project, "mine")
    run = Run.start(store, "one", {})
    run.log_text("hello", "note.txt")
    run.end("FINISHED")
    return store, run.run_id


def note(store: Store, run_id: str) -> str:
    return Path(store.client.download_artifacts(run_id, "note.txt")).read_text()


def locations(database: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(database)) as connection:
        return {
            f"{table}.{column}": [
                value for (value,) in connection.execute(f"SELECT {column} FROM {table}") if value
            ]
            for table, column in LOCATIONS
        }


def register(store: Store, run_id: str, source: str) -> None:
    store.client.create_registered_model("m")
    store.client.create_model_version("m", source, run_id)
    store.client.create_logged_model(store.experiment_id, name="m", source_run_id=run_id)


@pytest.mark.parametrize("name", ["new", "with space", "größer"])
def test_a_moved_project_finds_its_artifacts(fresh, tmp_path, name, capfd):
    old, new = tmp_path / "old", tmp_path / name
    store, run_id = recorded(fresh, old)
    register(store, run_id, f"{old.as_uri()}/mlruns/1/{run_id}/artifacts")
    old.rename(new)
    capfd.readouterr()
    moved = open_store(new, "mine")
    assert f"artifacts moved with the project, from {old.as_uri()}/mlruns" in capfd.readouterr().err
    assert note(moved, run_id) == "hello"
    found = locations(new / "mlflow.db")
    assert all(found.values())
    for values in found.values():
        assert all(value.startswith(f"{new.as_uri()}/mlruns/") for value in values), found
    again = Run.start(moved, "two", {})
    again.log_text("x", "x.txt")
    assert (new / "mlruns" / moved.experiment_id / again.run_id / "artifacts/x.txt").is_file()
    assert not old.exists()
    open_store(new, "mine")
    assert capfd.readouterr().err == ""


def test_a_copy_is_on_its_own_and_the_original_is_left_alone(fresh, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    store, run_id = recorded(fresh, old)
    before = locations(old / "mlflow.db")
    shutil.copytree(old, new)
    copy = open_store(new, "mine")
    (old / "mlruns" / "1" / run_id / "artifacts" / "note.txt").write_text("only in the original")
    assert note(copy, run_id) == "hello"
    assert note(store, run_id) == "only in the original"
    open_store(old, "mine")
    assert locations(old / "mlflow.db") == before


def test_what_does_not_belong_to_the_project_is_not_touched(fresh, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    store, _ = recorded(fresh, old)
    for name, where in {"s3": "s3://bucket/a", "near": f"{old.as_uri()}/mlruns2"}.items():
        store.client.create_experiment(name, where)
    old.rename(new)
    moved = open_store(new, "mine")
    for name, where in {"s3": "s3://bucket/a", "near": f"{old.as_uri()}/mlruns2"}.items():
        assert moved.client.get_experiment_by_name(name).artifact_location == where


def test_a_database_copied_alone_still_finds_what_lies_in_the_original(fresh, tmp_path):
    _, run_id = recorded(fresh, tmp_path / "old")
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "old" / "mlflow.db", tmp_path / "new")
    assert note(open_store(tmp_path / "new", "mine"), run_id) == "hello"


def test_a_database_that_two_projects_share_has_not_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared/all.db")
    _, one = record(tmp_path / "a")
    _, other = record(tmp_path / "b")
    before = locations(tmp_path / "shared" / "all.db")
    store = open_store(tmp_path / "a", "mine")
    assert locations(tmp_path / "shared" / "all.db") == before
    assert note(store, one) == note(store, other) == "hello"


def test_all_addresses_change_or_none(fresh, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    recorded(fresh, old)
    before = locations(old / "mlflow.db")
    with closing(sqlite3.connect(old / "mlflow.db")) as connection, connection:
        connection.execute(
            "CREATE TRIGGER stop BEFORE UPDATE OF artifact_uri ON runs "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    old.rename(new)
    with pytest.raises(Exception, match="can't be opened: no"):
        open_store(new, "mine")
    assert locations(new / "mlflow.db") == before


ODD = (
    "pct%20x",
    "%",
    "why?x=1",
    "a#b&c=d+e:f;g@h, i",
    "quotes'\"`$",
    "back\\slash*[x]{y}",
    "new\nline\ttab",
    "-dash",
    "~",
    "u\u0308 \u00fc \u4e2d",
)
"""Names of folders: everything that means something in an address or a shell."""


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_folder_of_any_name_holds_its_own_store(fresh: Path, tmp_path: Path, name: str) -> None:
    project = tmp_path / "here" / name / "project"
    store, run_id = recorded(fresh, project)
    assert note(store, run_id) == "hello"
    assert (project / "mlflow.db").is_file()
    moved = tmp_path / "there" / name
    moved.parent.mkdir()
    project.rename(moved)
    assert note(open_store(moved, "mine"), run_id) == "hello"
    # And nothing beside them, under a name that an address would have made of theirs.
    assert names(tmp_path / "there") == names(tmp_path / "here") == [name]
    assert names(tmp_path / "here" / name) == []
    assert names(tmp_path) == ["here", "there"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("given", ["sqlite:///runs/all%20.db", "sqlite:///runs/all .db?timeout=9"])
def test_an_address_in_the_variable_is_taken_as_one(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    project = tmp_path / "pct%41"
    shutil.copytree(fresh, project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    store, run_id = record(project)
    assert note(store, run_id) == "hello"
    assert names(project / "runs") == ["all .db", "all .db.lock"]
    assert names(tmp_path) == ["pct%41"]
