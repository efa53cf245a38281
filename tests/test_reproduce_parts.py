"""The parts of `runforge reproduce`: bringing code and data, comparing, and the proven cause."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from runforge import git
from runforge.dvc_files import folder_hash
from runforge.errors import DataError, Interrupted
from runforge.lineage_file import LineageFile, configuration_hash
from runforge.predictions import Predictions
from runforge.reproduction.comparison import Check, metrics, predictions, weights
from runforge.reproduction.data import Brought, bring
from runforge.reproduction.recorded import Recorded
from runforge.reproduction.surroundings import machine
from runforge.reproduction.verdict import Evidence, judge
from runforge.reproduction.worktree import clean_worktree
from runforge.tracking.search import RunInfo
from tests.conftest import Project
from tests.reproductions import left, yaml_hash

VALUES = {
    "seed": 0,
    "optimizer": {"learning_rate": 0.1},
    "trainer": {"deterministic": True},
    "machine": {"devices": 1, "nodes": 1, "threads": None, "rendezvous": None},
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A committed DVC repository with data, and a remote whose path counts from `.dvc/`."""
    folder = tmp_path / "project"
    (folder / "data/a").mkdir(parents=True)
    for number in range(3):
        (folder / f"data/a/{number}.txt").write_text(f"{number}")
    (folder / "data/ü b.txt").write_text("b")
    (folder / "code.py").write_text("a = 1\n")
    made = Project(folder)
    made.git("init", "--quiet", "--initial-branch=main")
    made.run("dvc", "init", "--quiet")
    made.run("dvc", "remote", "add", "--quiet", "--default", "store", "../storage")
    made.run("dvc", "add", "--quiet", "data")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message=first")
    return made


def head(project: Project) -> str:
    return project.run("git", "rev-parse", "HEAD").stdout.strip()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_data_come_from_the_cache_the_remote_or_the_project(project: Project) -> None:
    data, was = yaml_hash(project.folder / "data.dvc"), contents(project.folder / "data")
    assert folder_hash(project.folder / "data") == data
    project.run("dvc", "push", "--quiet")
    cache, remote = project.folder / ".dvc/cache", project.folder.parent / "storage"

    def brought() -> Brought:
        with clean_worktree(project.folder, head(project), None) as copy:
            found = bring(project.folder, copy, "data", data)
            assert contents(copy / "data") == was
        return found

    assert brought() == Brought("DVC's cache or remote", verified=True)
    shutil.rmtree(cache)
    remote.rename(remote.with_name("away"))
    assert brought() == Brought("data of the project, which has that hash", verified=True)
    remote.with_name("away").rename(remote)
    shutil.rmtree(project.folder / "data")
    assert brought() == Brought("DVC's cache or remote", verified=True)
    assert not (project.folder / "data").exists()


def test_a_damaged_object_of_the_cache_is_named(project: Project) -> None:
    data = yaml_hash(project.folder / "data.dvc")
    path = next(
        p
        for p in (project.folder / ".dvc/cache/files/md5").rglob("*")
        if p.is_file() and p.read_bytes() == b"1"
    )
    path.chmod(0o644)
    path.write_bytes(b"7")
    path.chmod(0o444)
    with clean_worktree(project.folder, head(project), None) as copy:
        assert bring(project.folder, copy, "data", data).odd == "data/a/1.txt"


def test_data_of_another_hash_than_the_commit_names_come_by_their_own(project: Project) -> None:
    (project.folder / "data/a/9.txt").write_text("9")
    project.run("dvc", "add", "--quiet", "data")
    data = yaml_hash(project.folder / "data.dvc")
    with clean_worktree(project.folder, head(project), None) as copy:
        brought = bring(project.folder, copy, "data", data)
        assert (copy / "data/a/9.txt").read_text() == "9" and brought.verified


def test_data_that_dvc_does_not_track_are_taken_as_they_lie(project: Project) -> None:
    (project.folder / "other").mkdir()
    (project.folder / "other/x.txt").write_text("x")
    with clean_worktree(project.folder, head(project), None) as copy:
        brought = bring(project.folder, copy, "other", None)
        assert (copy / "other/x.txt").read_text() == "x" and not brought.verified
        absolute = str(project.folder / "other")
        assert bring(project.folder, copy, absolute, None).origin == f"{absolute}, as it lies there"
        with pytest.raises(DataError, match=r"looked at .*/nowhere"):
            bring(project.folder, copy, "nowhere", None)


def test_the_work_tree_is_clean_and_goes_away(project: Project) -> None:
    hooks = project.folder / ".git/hooks/post-checkout"
    hooks.parent.mkdir(exist_ok=True)
    hooks.write_text(f"#!/bin/sh\ntouch {project.folder}/hook-ran\n")
    hooks.chmod(0o755)
    (project.folder / "code.py").write_text("a = 2\n")
    with (
        pytest.raises(Interrupted),
        clean_worktree(project.folder, head(project), None) as copy,
    ):
        assert (copy / "code.py").read_text() == "a = 1\n"
        raise Interrupted(2)
    assert not copy.exists() and git.worktrees(project.folder) == [project.folder]
    assert not (project.folder / "hook-ran").exists()
    assert left() == []


def test_a_patch_that_does_not_fit_and_a_commit_that_is_none(project: Project) -> None:
    patch = project.folder.parent / "changes.patch"
    patch.write_bytes(
        b"diff --git a/code.py b/code.py\n--- a/code.py\n+++ b/code.py\n"
        b"@@ -1 +1 @@\n-b = 1\n+b = 2\n"
    )
    with (
        pytest.raises(DataError, match="does not fit"),
        clean_worktree(project.folder, head(project), patch),
    ):
        pass
    with (
        pytest.raises(DataError, match="never committed"),
        clean_worktree(project.folder, None, None),
    ):
        pass
    assert git.worktrees(project.folder) == [project.folder]


def test_a_commit_comes_from_a_remote(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder, tmp_path / "upstream")
    upstream = Project(tmp_path / "upstream")
    (upstream.folder / "code.py").write_text("a = 3\n")
    upstream.git("commit", "--quiet", "--all", "--message=second")
    project.git("remote", "add", "origin", str(upstream.folder))
    with clean_worktree(project.folder, head(upstream), None) as copy:
        assert (copy / "code.py").read_text() == "a = 3\n"
    assert project.run("git", "branch", "--all").stdout.split() == ["*", "main"]
    assert not (project.folder / ".git/FETCH_HEAD").exists()


def test_what_killed_commands_left_is_forgotten(project: Project, tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    dead = tmp_path / f"runforge-{done.pid}-x" / "tree"
    git.add_worktree(project.folder, dead, head(project))
    with clean_worktree(project.folder, head(project), None):
        assert dead not in git.worktrees(project.folder)
    assert not dead.exists()


def test_metrics_of_every_step() -> None:
    was = {"loss": {1: 1.0, 2: 0.5, 3: math.nan}, "test/accuracy": {0: 0.9}}
    assert metrics(was, was) == Check("metrics of every step", "identical", "4 values")
    near = {**was, "loss": {1: 1.0, 2: 0.5001, 3: math.nan}, "test/accuracy": {0: 0.9002}}
    found = metrics(was, near)
    assert (found.state, found.first) == ("near", "step 2, loss")
    assert found.largest == pytest.approx(0.0002)
    late = {**was, "test/accuracy": {0: 0.5}}
    found = metrics(was, late)
    assert (found.state, found.first) == ("different", "evaluation, test/accuracy")
    assert found.largest == pytest.approx(0.4)
    assert metrics(was, {**was, "loss": {1: 1.0, 2: 0.5}}).state == "different"
    assert metrics(was, {**was, "loss": {1: 1.0, 2: math.nan, 3: math.nan}}).largest == math.inf


def test_weights() -> None:
    was = {"a": np.ones((2, 2), np.float32), "b": np.zeros(3, np.float32)}
    assert weights(was, was).state == "identical"
    near = {**was, "b": np.array([0, 1e-4, 0], np.float32)}
    found = weights(was, near)
    assert (found.state, found.text) == ("near", "first in b")
    assert found.largest == pytest.approx(1e-4)
    assert weights(was, {**was, "b": np.ones(3, np.float32)}).state == "different"
    assert weights(was, {"a": was["a"]}).state == "different"


def made_predictions(values: list[list[float]], ids: str = "abc") -> Predictions:
    targets = np.arange(len(ids), dtype=np.int64) % 2
    return Predictions(np.array(list(ids)), "test", targets, np.array(values), ("no", "yes"))


def test_predictions_by_sample() -> None:
    was = made_predictions([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert [check.state for check in predictions(was, was)] == ["identical", "identical"]
    order = [1, 0, 2]
    turned = Predictions(was.ids[order], "test", was.targets[order], was.values[order], was.classes)
    assert [check.state for check in predictions(was, turned)] == ["identical", "identical"]
    flipped = made_predictions([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    first, second = predictions(was, flipped)
    assert (first.state, first.text) == ("different", "1 of 3 samples differ")
    assert first.largest == pytest.approx(0.2)
    assert second.text == "2 cells differ, first no taken for no: 2 → 1"
    others = predictions(was, made_predictions(was.values.tolist(), "abd"))
    assert others[0].text == "2 samples are in one of them only"


def evidence(
    configuration: dict[str, object] | None = None,
    parameters: dict[str, str] | None = None,
    **more: object,
) -> Evidence:
    """Of a run in which nothing is another, but for what is given."""
    lineage = LineageFile(
        lineage={"git": {"commit": "c"}, "python": "3"},
        patch="whole",
        configuration_hash=configuration_hash(VALUES),
        data_root="data",
        data_fingerprint="f",
        code={"a.py": "1", "b.py": "2"},
        steps=("train",),
    )
    now = datetime.now(UTC)
    run = RunInfo("r", "n", "FINISHED", now, now, "0", None, parameters or {}, {}, {})
    recorded = Recorded(run, lineage, dict(configuration or VALUES), None, ("torch==2",), None)
    values = {
        "brought": Brought("cache", verified=True),
        "code": lineage.code,
        "environment": (),
        "fingerprint": "f",
        **more,
    }
    return Evidence(recorded=recorded, **values)  # type: ignore[arg-type]


OTHER = {**VALUES, "seed": 1}
ODD = Check("final weights", "different")


@pytest.mark.parametrize(
    ("given", "cause", "said"),
    [
        ({"brought": Brought("cache", odd="data/x.png")}, "data", "data/x.png is not the file"),
        (
            {"brought": Brought("as it lies"), "fingerprint": "g"},
            "data",
            "another fingerprint",
        ),
        (
            {"configuration": OTHER, "parameters": {"seed": "0"}, "fingerprint": "g"},
            "configuration",
            "seed: 0 → 1",
        ),
        ({"code": {"a.py": "1", "b.py": "3"}, "fingerprint": "g"}, "code", "runforge/b.py"),
        ({"code": {"a.py": "1", "c.py": "3"}}, "code", "runforge/b.py, runforge/c.py"),
        ({"environment": ("torch 2 → 3",), "fingerprint": "g"}, "environment", "torch 2 → 3"),
        ({}, None, "nothing recorded is another"),
        (
            {"environment": ("torch 2 → 3",), "code": {}, "brought": Brought("x", odd="y")},
            "data",
            "y is not",
        ),
    ],
)
def test_the_first_cause_that_is_proven(
    given: dict[str, object], cause: str | None, said: str
) -> None:
    verdict = judge("r", "s", [ODD], evidence(**given))  # type: ignore[arg-type]
    assert (verdict.verdict, verdict.cause) == ("different", cause)
    assert said in verdict.because


def test_only_what_was_compared_whole_is_identical() -> None:
    same, near = Check("a", "identical"), Check("b", "near", "x", 1e-6, "step 2, loss")
    missing = dataclasses.replace(ODD, state="missing")
    words = [
        judge("r", "s", checks, evidence()).verdict
        for checks in ([same], [same, near], [same, missing], [same, near, ODD], [])
    ]
    assert words == [
        *("identical", "equal within tolerance", "different", "different", "different")
    ]
    told = judge("r", "s", [same, near], evidence()).because
    assert "largest difference 1e-06; first at step 2, loss" in told


def test_a_machine_that_lacks_what_the_run_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no nvidia-smi
    recorded = evidence().recorded
    tags = {"runforge.device": "NVIDIA X", "runforge.processes": "4", "runforge.threads": "3"}
    was = dataclasses.replace(recorded, run=dataclasses.replace(recorded.run, tags=tags))
    found = machine(was)
    kept = {key: found.node[key] for key in ("accelerator", "devices", "nodes", "threads")}
    assert kept == {"accelerator": "cpu", "devices": 4, "nodes": 1, "threads": 3}
    assert found.differences == ("device NVIDIA X → cpu: there is no GPU",)
