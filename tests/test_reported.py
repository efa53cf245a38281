"""Kinds of fault that users of other tools reported, tried here: `docs/reported.md` says whose."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ruamel.yaml import YAML
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from runforge import config, dvc_cache, user, worker
from runforge.errors import DataError, Refused, StoreError, of_the_machine
from runforge.foreign import parse_json
from runforge.lineage import collect
from runforge.modalities.table import Table
from runforge.places import outermost_project
from runforge.reproduction.worktree import clean_worktree
from runforge.single_precision import packed_targets
from runforge.sources.image_folder import ImageFolder
from runforge.sources.table import Table as TableSource
from runforge.tasks.regression import _R2
from runforge.tracking.store import open_store
from tests.conftest import REPOSITORY, Project, clean_environment, make_project

SECONDS = 1_700_000_000
"""Since 1970: 32-bit floats go in steps of 128 there."""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=300
    )


# Files of the user's that are called as Python's own modules


def test_a_file_of_the_project_is_not_taken_for_pythons(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('the user’s')")
    done = run(tmp_path, sys.executable, "-m", "runforge", "--help")
    assert (done.returncode, done.stdout[:15]) == (0, "usage: runforge")


def test_nor_by_what_a_command_starts(tmp_path: Path) -> None:
    (tmp_path / "platform.py").write_text("raise SystemExit('the user’s')")
    code = (
        "import subprocess, sys; from runforge.cli import main; main(['sample', 'digits', 'd']);"
        "sys.exit(subprocess.run([sys.executable, '-m', 'platform']).returncode)"
    )
    done = run(tmp_path, sys.executable, "-P", "-c", code)
    assert done.returncode == 0, done.stderr


# DVC's cache behind links


def linked(project: Project) -> Project:
    """A project whose data DVC has put into its cache, with links to it in their place."""
    project.runforge("sample", "digits")
    for folder in (project.folder / "data").iterdir():
        for path in sorted(folder.iterdir())[3:]:
            path.unlink()
    project.run("dvc", "config", "cache.type", "symlink")
    project.run("dvc", "config", "--local", "cache.dir", "../elsewhere")
    project.run("dvc", "add", "--quiet", "data")
    return project


def test_links_into_the_cache_of_dvc_are_data(tmp_path: Path) -> None:
    project = linked(make_project(tmp_path / "project"))
    data = project.folder / "data"
    pictures = sorted((data / "3").iterdir())
    assert all(path.is_symlink() for path in pictures)
    assert dvc_cache.cache(project.folder).resolve() == tmp_path / "elsewhere"

    (tmp_path / "secret").write_text("not data")
    (data / "3" / "zz.png").symlink_to(tmp_path / "secret")
    samples = [s for s in ImageFolder(splits={}).samples(data) if s.label == "3"]
    assert [s.read() for s in samples[:-1]] == [path.read_bytes() for path in pictures]
    with pytest.raises(Refused, match="a link that leaves the data folder"):
        samples[-1].read()


def test_a_table_behind_a_link_into_the_cache_of_dvc(tmp_path: Path) -> None:
    kept = tmp_path / ".dvc" / "cache" / "files" / "md5" / "ab" / "cdef"
    kept.parent.mkdir(parents=True)
    kept.write_text("a,y\n1,p\n2,q\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").symlink_to(kept)
    source = TableSource(
        file="t.csv",
        target="y",
        split_column=None,
        missing_values=[""],
        ignore=[],
        columns=None,
        separator=",",
        quote='"',
    )
    assert [sample.label for sample in source.samples(tmp_path / "data")] == ["p", "q"]


# git that can't say what is committed


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit."""
    root = tmp_path / "repository"
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "-A"), (*author, "commit", "-q", "-m", "first")):
        assert run(root, "git", *command).returncode == 0
    return root


def test_a_repository_of_another_user_is_told(repository, monkeypatch, capsys) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = collect(repository, data_root=None, command="runforge train")
    assert found.git is None
    assert "dubious ownership" in found.to_tags()["runforge.git"]
    said = capsys.readouterr().err
    assert f"git config --global --add safe.directory {repository}" in said
    assert json.loads(json.dumps(found.to_dict()))["git_problem"] == found.git_problem

    with (
        pytest.raises(DataError, match="dubious ownership"),
        clean_worktree(repository, "0" * 40, None),
    ):
        pass


def test_a_git_that_fails_makes_no_tree_clean(repository, capsys) -> None:
    (repository / ".git" / "index").write_bytes(b"no index")
    found = collect(repository, data_root=None, command="runforge train")
    assert found.git is None
    assert "index" in found.to_tags()["runforge.git"]
    assert "warning: " in capsys.readouterr().err


def test_no_repository_is_no_problem(tmp_path, capsys) -> None:
    found = collect(tmp_path, data_root=None, command="runforge train")
    assert (found.git, found.git_problem) == (None, None)
    assert found.to_tags()["runforge.git"] == "not a git repository"
    assert capsys.readouterr().err == ""


# A container's user, the store's place, proxies, threads


def test_a_user_without_a_name_and_a_home(tmp_path, monkeypatch, capsys) -> None:
    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    user.make_known()
    assert (os.environ["HOME"], os.environ["USER"]) == (str(tmp_path), str(os.getuid()))
    assert capsys.readouterr().err.startswith("warning: this user has no home folder")
    user.make_known()
    assert capsys.readouterr().err == ""


def test_what_may_not_be_written_is_named(tmp_path) -> None:
    line = of_the_machine(PermissionError(13, "Permission denied", "/there/mlruns"))
    assert line is not None
    assert line.startswith("/there/mlruns: Permission denied")
    sqlite3.connect(tmp_path / "a.db").execute("create table t (a)")
    with (
        sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True) as database,
        pytest.raises(sqlite3.OperationalError) as error,
    ):
        database.execute("insert into t values (1)")
    assert "let this user write it" in (of_the_machine(error.value) or "")
    assert of_the_machine(FileNotFoundError(2, "No such file", "a")) is None


def test_a_proxy_before_the_server_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://user:hidden@127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match=r"export NO_PROXY=127\.0\.0\.1$") as error:
        open_store(tmp_path, "e")
    assert "hidden" not in str(error.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(StoreError, match="start the server"):
        open_store(tmp_path, "e")


@pytest.mark.parametrize(
    ("told", "threads"), [("2,1", 2), (" 3 ", 3), ("abc", 1), ("0", 1), ("", 1)]
)
def test_threads_as_openmp_is_told(told: str, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        worker._use_threads(told)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


# Numbers far from zero


def test_moments_of_time_stay_apart() -> None:
    generator = np.random.default_rng(0)
    seconds = SECONDS + generator.integers(0, 100, 200)
    rows = [{"at": str(value), "z": str(i)} for i, value in enumerate(seconds)]
    table = Table(numbers=None, categories=None)
    layout = json.loads(json.dumps(table.layout(rows)))
    assert set(layout["origins"]) == {"at"}

    packed = np.stack([table.decode(row, layout) for row in rows])
    statistics = {k: torch.tensor(v) for k, v in table.statistics(packed, layout).items()}
    inputs = table.normalise(torch.from_numpy(packed), statistics)
    columns = np.stack([seconds, np.arange(200)], axis=1).astype(np.float64)
    expected = StandardScaler().fit_transform(columns)
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)
    assert table.show(packed[0], layout).lines[0] == f"at: {seconds[0]}"


def test_ordinary_numbers_are_packed_as_they_are() -> None:
    rows = [{"a": text} for text in ("0", "2.5", "1e12", "-3")]
    table = Table(numbers=None, categories=None)
    assert "origins" not in table.layout(rows)
    same = [{"a": str(SECONDS)}, {"a": str(SECONDS)}]
    assert "origins" not in table.layout(same)


def test_a_target_that_32_bits_can_not_hold_is_refused() -> None:
    generator = np.random.default_rng(0)
    small = generator.normal(size=100) * 20
    with pytest.raises(DataError, match=r"hardly tell apart; subtract a constant"):
        packed_targets(SECONDS + small, "y")
    with pytest.raises(DataError, match="is 5 in every sample"):
        packed_targets(np.full(9, 5.0), "y")
    with np.errstate(over="raise"):
        far = packed_targets(small * 1e36, "y")
    np.testing.assert_allclose(far, small * 1e36, rtol=1e-6)
    np.testing.assert_allclose(packed_targets(small + 1000, "y"), small + 1000, rtol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1e6, 300.0), (1e7, 3000.0)])
def test_r2_of_values_far_from_zero(mean: float, std: float) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = mean + torch.randn(500, generator=generator) * std
    values = targets + torch.randn(500, generator=generator) * std / 2
    metric = _R2(mean, std)
    for part in range(0, 500, 64):
        metric.update(values[part : part + 64], targets[part : part + 64])
    assert float(metric.compute()) == pytest.approx(r2_score(targets, values.double()), abs=1e-3)


# One value written in several ways


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        *(("True", 0.0), ("true", 0.0), ("FALSE", 1.0), ("1", 2.0), ("1.0", 2.0), ("1.00", 2.0)),
        *(("007", 3.0), ("7", -1.0), ("7.0", -1.0), ("yes", -1.0), ("2", 5.0), ("2.0", 4.0)),
        *(("2.00", -1.0), ("", -1.0), ("nan", -1.0)),
    ],
)
def test_a_category_is_known_however_it_is_written(cell: str, code: float) -> None:
    values = ["True", "false", "1", "007", "2.0", "2"]
    layout = {"numbers": [], "categories": [{"name": "c", "values": values}], "indicators": []}
    assert Table(numbers=None, categories=["c"]).decode({"c": cell}, layout).tolist() == [code]


# A project in a folder of its repository


@pytest.mark.parametrize("copies", ["standalone/tmp1", "tmp1"])
def test_a_copy_of_a_repository_with_a_project_within(tmp_path: Path, copies: str) -> None:
    project = tmp_path / "teams" / "a"
    project.mkdir(parents=True)
    (project / "dvc.yaml").write_text("stages: {}\n")
    # DVC's folder at the top of the repository, in the project, and of a project at the top.
    for top in (tmp_path, project):
        copy = top / ".dvc" / "tmp" / "exps" / copies / "teams" / "a"
        assert outermost_project(copy) == project
    alone = tmp_path / "alone"
    assert outermost_project(alone / ".dvc" / "tmp" / "exps" / copies) == alone
    assert outermost_project(project) == project


# Texts that YAML takes for something else


def test_params_mean_the_same_to_every_reader_of_yaml(tmp_path: Path) -> None:
    odd = ["no", "on", "y", "12:30:45", "010", "1e5", "2024-01-01", "1_000", "null", "~", ""]
    values = {"texts": odd, "rate": 1e-5, "tiny": 1e-10, "large": 1e20, "none": None, "yes": True}
    settings = config.compose(REPOSITORY, []).settings
    config.write_params(tmp_path, config.Composed(values, settings))
    text = (tmp_path / "params.yaml").read_text()
    assert yaml.safe_load(text) == values  # YAML 1.1, as runforge reads it
    assert YAML(typ="safe").load(text) == values  # YAML 1.2, as DVC does


# JSON that is none


@pytest.mark.parametrize(
    "body",
    [
        *('{"rows": [{"c": NaN}]}', '{"rows": [{"c": -Infinity}]}', '{"rows": [{"c": 1, "c": 2}]}'),
        '{"rows": ' + "[" * 100_000,
    ],
)
def test_json_that_is_none_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        parse_json(body)
