"""REF: a run, a version in the registry or a folder means one bundle, or one line says why not."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from runforge import bundle, cli
from runforge.errors import StoreError
from runforge.model_reference import bundle_folder
from runforge.tracking.registry import find_version
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store
from tests.conftest import make_project
from tests.made_bundles import Made, make_bundle


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("digits"), "digits")


@pytest.fixture(scope="module")
def store(digits: Made, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A project with three runs: `good` and `newer` with a bundle, `bare` without."""
    project = make_project(tmp_path_factory.mktemp("runs") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        opened = open_store(project.folder, "runforge")
    for name in ("good", "newer", "bare"):
        run = Run.start(opened, name, {})
        if name != "bare":
            run.log_folder(digits.bundle, "bundle")
        run.end("FINISHED")
    _register(opened)
    return opened


def _register(store: Store) -> None:
    client = store.client
    good = run_id(store, "good")
    client.create_registered_model("digit reader")
    client.create_model_version("digit reader", f"runs:/{good}/model", good)
    client.create_model_version("digit reader", "/elsewhere", None)
    client.set_registered_model_alias("digit reader", "champion", "1")


def run_id(store: Store, name: str) -> str:
    (found,) = store.client.search_runs([store.experiment_id], f"run_name = '{name}'")
    return str(found.info.run_id)


@pytest.fixture(autouse=True)
def inside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_runs(store: Store) -> None:
    good = run_id(store, "good")
    for reference in (good, good[:8], "good"):
        folder = bundle_folder(reference)
        assert folder == store.project / "out" / "models" / good
        assert bundle.load(folder).bundle.run_id == "abc"


def test_the_registry(store: Store) -> None:
    good = run_id(store, "good")
    for reference in ("models:/digit reader@champion", "models:/digit reader/1"):
        assert bundle_folder(reference).name == good
        assert find_version(store, reference).version == "1"


def test_folders(digits: Made, store: Store) -> None:
    shutil.copytree(digits.bundle, "here")
    try:
        assert bundle_folder("here") == Path("here")
        assert bundle_folder(f"{digits.bundle}{os.sep}") == digits.bundle
    finally:
        shutil.rmtree("here")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("nobody", "no run is called 'nobody'; candidates: "),
        ("0123456789", "no run is called '0123456789'"),
        ("bare", "has no bundle"),
        ("models:/digit reader", "write models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/digit reader@best", "aliases: champion (version 1)"),
        ("models:/digit reader/9", "there is no models:/digit reader/9"),
        ("models:/digit reader/2", "belongs to no run"),
        ("models:/other@champion", "no model is called 'other'; registered: digit reader"),
        ("models:/../../x@champion", "names no version of a model"),
        ("./gone", "there is no bundle.json"),
    ],
)
def test_mistakes_are_one_line(store: Store, capsys, reference: str, told: str) -> None:
    assert cli.main(["predict", "--model", reference, "params.yaml"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("model: ")]
    assert line.startswith("runforge: ") and told in line


def test_a_prefix_of_two_runs_lists_both(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Run.start(store, "good", {})
    twice.end("FINISHED")
    with pytest.raises(StoreError, match="'good' means 2 runs; candidates: ") as error:
        bundle_folder("good")
    assert twice.run_id[:8] in str(error.value) and run_id(store, "bare")[:8] not in str(
        error.value
    )
    store.client.delete_run(twice.run_id)


def test_a_registry_that_does_not_answer(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert cli.main(["predict", "--model", "models:/digit reader@champion", "conf"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the tracking server does not answer" in line
