"""`runforge reproduce`: a whole run made again, what can't be had, and signals in its midst."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runforge.errors import DataError, StoreError
from runforge.reproduction.recorded import fetch
from runforge.tracking.store import open_store
from tests.conftest import Project, clean_environment
from tests.reproductions import FACTOR, Made, dirty, left, made, untouched

LATER = "        return outputs * 2.0\n"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("reproduce"), each=12)


@pytest.fixture(scope="module")
def run_id(there: Made) -> str:
    """A run of a dirty work tree, which has gone on since."""
    dirty(there.project)
    found = there.train("network=wide", "network.hidden=[8]")
    dirty(there.project, LATER)
    return found


@pytest.fixture
def copy(there: Made, run_id: str, tmp_path: Path) -> Made:
    """The project with its run, somewhere else."""
    folder = tmp_path / "copy"
    shutil.copytree(there.folder, folder, symlinks=True)
    return Made(Project(folder))


def test_a_run_of_a_dirty_tree_is_identical_and_nothing_is_touched(
    there: Made, run_id: str
) -> None:
    before = untouched(there)
    verdict = there.verdict("latest")
    assert untouched(there) == before
    assert LATER in (there.folder / "src/runforge/networks/mlp.py").read_text()
    assert (verdict["run_id"], verdict["verdict"], verdict["cause"]) == (run_id, "identical", None)
    assert verdict["environment"] == []
    names = [check["name"] for check in verdict["checks"]]
    assert names == [
        *("data fingerprint", "initial weights", "metrics of every step", "final weights"),
        *("predictions", "confusion matrix"),
    ]
    assert {check["state"] for check in verdict["checks"]} == {"identical"}
    again = verdict["made_again"]
    assert there.tags(run_id)["runforge.reproduced_by"] == again
    assert there.tags(again)["runforge.reproduces"] == run_id
    for one in (run_id, again):
        assert there.tags(one)["runforge.reproduction"] == "identical"
    patch = there.artifact(run_id, "lineage/changes.patch").read_bytes()
    assert there.artifact(again, "lineage/changes.patch").read_bytes() == patch
    assert FACTOR.strip().encode() in patch
    assert there.tags(run_id)["runforge.patch"] == "whole"
    told = json.loads(there.artifact(again, "reproduction.json").read_text())
    assert told["verdict"] == "identical"


def test_what_only_the_workers_know_is_recorded(there: Made, run_id: str) -> None:
    tags = there.tags(run_id)
    assert (tags["runforge.processes"], tags["runforge.threads"]) == ("1", "1")
    assert tags["runforge.device"] == "cpu"
    assert tags["runforge.determinism"].startswith("deterministic=true, cudnn.benchmark=false")
    origin = json.loads(there.artifact(run_id, "lineage/origin.json").read_text())
    assert origin["runforge.code_root"] == "src"
    assert "network=wide" in origin["runforge.overrides"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(there: Made, run_id: str, number: signal.Signals) -> None:
    before = untouched(there)
    environment = {**clean_environment(), **there.environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "runforge", "reproduce", run_id],
        cwd=there.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1" if number == signal.SIGINT else "reproduce: prepare"):
            break
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert untouched(there) == before
    assert left() == []
    if number == signal.SIGINT:
        newest = there.runs()[0]
        assert newest.info.status == "KILLED"
        assert newest.data.tags["runforge.reproduces"] == run_id


def test_a_commit_that_is_gone(copy: Made, run_id: str) -> None:
    commit = copy.tags(run_id)["runforge.git_commit"]
    copy.project.git("commit", "--quiet", "--amend", "--message=other")
    copy.project.git("reflog", "expire", "--expire=now", "--all")
    copy.project.git("gc", "--quiet", "--prune=now")
    said = copy.reproduce(run_id, code=2).stderr
    assert f"commit {commit} can no longer be had" in said
    assert f"looked in {copy.folder}/.git and in no remote" in said


def test_data_that_are_gone(copy: Made, run_id: str) -> None:
    shutil.rmtree(copy.folder / ".dvc/cache")
    next((copy.folder / "data").glob("*/*.png")).unlink()
    said = copy.reproduce(run_id, code=2).stderr
    assert f"the data {copy.tags(run_id)['runforge.data_dvc_hash']} can no longer be had" in said
    assert f"looked in {copy.folder}/.dvc/cache, by `dvc pull`" in said
    assert f"at {copy.folder}/data, which is now" in said
    assert left() == []


def test_runs_that_can_t_be_made_again(copy: Made, run_id: str, tmp_path: Path) -> None:
    store = open_store(copy.folder, "runforge")
    client, experiment = store.client, store.client.get_run(run_id).info.experiment_id
    sweep = client.create_run(experiment, tags={"runforge.kind": "sweep"}).info.run_id
    failed = client.create_run(experiment).info.run_id
    client.set_terminated(failed, "FAILED")
    old = client.create_run(experiment).info.run_id
    client.set_terminated(old)
    for run, said in (
        (sweep, "it is a sweep"),
        (failed, "it is failed"),
        (old, "has no lineage/lineage.json"),
        ("nothing", "no run is called 'nothing'"),
    ):
        with pytest.raises(StoreError, match=said):
            fetch(store, run, tmp_path / "fetched")
    copy.artifact(run_id, "lineage/lineage.json").write_text("{}")
    with pytest.raises(DataError, match="its format is None"):
        fetch(store, run_id, tmp_path / "fetched")
