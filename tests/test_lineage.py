"""Lineage says where a run comes from, says so where it can't know, and keeps secrets."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from runforge.lineage import collect, dvc_hash
from runforge.redaction import is_secret_name, redact, redact_arguments

COMMAND = "runforge train network=cnn"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project whose data DVC tracks."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    (root / "code.py").write_text("a = 1\n")
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    (root / ".gitignore").write_text("/out/\n/data\n/.dvc/\n")
    (root / "data.dvc").write_text(
        "outs:\n- md5: 0123abcd.dir\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: data\n"
    )
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_clean_commit(project):
    found = collect(project, data_root="data", command=COMMAND)
    assert found.git is not None
    assert found.git.commit == git(project, "rev-parse", "HEAD")
    assert (found.git.branch, found.git.dirty) == ("main", False)
    assert found.data_dvc_hash == "0123abcd.dir"


def test_the_pipelines_own_outputs_and_ignored_files_make_nothing_dirty(project):
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (project / "params.yaml").write_text("seed: 1\n")
    (project / "out").mkdir()
    (project / "out" / "x").write_text("x")
    found = collect(project, data_root=None, command=COMMAND)
    assert found.git is not None and not found.git.dirty


@pytest.mark.parametrize("file", ["code.py", "new.py", "conf.yaml"])
def test_any_other_change_is_dirty(project, file):
    (project / file).write_text("a = 2\n")
    (project / "dvc.lock").write_text("changed\n")
    found = collect(project, data_root=None, command=COMMAND)
    assert found.git is not None and found.git.dirty


def test_a_folder_within_the_repository(project):
    (project / "sub").mkdir()
    (project / "sub" / "dvc.lock").write_text("x")
    (project / "code.py").write_text("a = 3\n")
    found = collect(project / "sub", data_root=None, command=COMMAND)
    assert found.git is not None and found.git.dirty


def test_before_the_first_commit(tmp_path):
    git(tmp_path, "init", "-q")
    found = collect(tmp_path, data_root="data", command=COMMAND)
    assert found.git is not None
    assert (found.git.commit, found.git.branch) == (None, "main")


def test_a_copy_as_dvc_makes_it(project, monkeypatch):
    copy = project / ".dvc" / "tmp" / "exps" / "tmpab"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".dvc"))
    git(copy, "checkout", "-q", "--detach")
    monkeypatch.setenv("DVC_EXP_NAME", "odd-name")
    found = collect(copy, data_root="data", command=COMMAND)
    assert found.git is not None
    assert (found.git.commit, found.git.branch) == (git(project, "rev-parse", "HEAD"), None)
    assert found.data_dvc_hash == "0123abcd.dir"
    assert found.to_tags()["runforge.dvc_experiment"] == "odd-name"


def test_without_git_and_dvc(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    found = collect(tmp_path, data_root="data", command=COMMAND)
    assert (found.git, found.data_dvc_hash, found.dvc_experiment) == (None, None, None)
    tags = found.to_tags()
    assert tags["runforge.git"] == "not a git repository"
    assert not {"runforge.git_commit", "runforge.data_dvc_hash"} & set(tags)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect(tmp_path, data_root=None, command=COMMAND).git is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data", "0123abcd.dir"),
        ("data/images/train", "0123abcd.dir"),
        ("./data/../data", "0123abcd.dir"),
        ("database", None),
        ("made", "stage.dir"),
        ("more/table.csv", "9999"),
        ("../elsewhere", None),
    ],
)
def test_the_hash_under_which_dvc_tracks_the_data(project, path, expected):
    (project / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  make:\n    cmd: x\n    deps:\n    - path: database\n"
        "      md5: dep\n    outs:\n    - path: made\n      hash: md5\n      md5: stage.dir\n"
    )
    (project / "more").mkdir()
    (project / "more" / "table.csv.dvc").write_text("outs:\n- md5: '9999'\n  path: table.csv\n")
    assert dvc_hash(project, project / path) == expected


def test_the_hash_is_dvcs_own(tmp_path):
    """Against DVC itself, in a repository of its own."""
    dvc = Path(sys.executable).parent / "dvc"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    for command in (["init", "--no-scm", "-q"], ["add", "-q", "data"]):
        subprocess.run([dvc, *command], cwd=tmp_path, check=True, capture_output=True)
    digest = dvc_hash(tmp_path, tmp_path / "data")
    assert digest is not None and digest.endswith(".dir")
    stored = tmp_path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    assert [entry["relpath"] for entry in json.loads(stored.read_text())] == ["a.txt"]


def test_environment_and_machine(project):
    found = collect(project, data_root=None, command=COMMAND)
    assert found.python == platform.python_version()
    assert found.packages["torch"] == metadata.version("torch")
    assert f"numpy=={metadata.version('numpy')}" in found.requirements.splitlines()
    assert found.cpu and found.cpu_count >= 1 and isinstance(found.gpus, tuple)
    assert found.command == COMMAND
    tags = found.to_tags()
    assert all(
        isinstance(value, str) and key.startswith("runforge.") for key, value in tags.items()
    )
    assert tags["runforge.git_dirty"] == "false"
    assert json.loads(json.dumps(found.to_dict()))["git"]["branch"] == "main"


def test_secrets_of_the_command_are_hidden(project):
    command = "runforge train +db.password=hunter2 'name=a b' --api-key hunter2 s3://u:hunter2@h/x"
    found = collect(project, data_root=None, command=command)
    expected = "runforge train '+db.password=***' 'name=a b' --api-key '***' 's3://***@h/x'"
    assert found.command == expected
    assert "hunter2" not in json.dumps(found.to_dict())
    assert collect(project, data_root=None, command="open 'quote").command == "open 'quote"


@pytest.mark.parametrize("name", ["token", "a.secret.b", "DB_PASSWORD", "api-key", "key", "apikey"])
def test_secret_names(name):
    assert is_secret_name(name)
    assert redact_arguments([f"--{name}=x", f"+{name}=x y"]) == [f"--{name}=***", f"+{name}=***"]


@pytest.mark.parametrize("name", ["max_tokens", "monkey", "tokenizer", "keyboard", "key_count"])
def test_names_that_only_look_like_secrets(name):
    assert not is_secret_name(name)
    assert redact_arguments([f"{name}=x", f"--{name}", "y"]) == [f"{name}=x", f"--{name}", "y"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pa@ss@host:80/a", "http://***@host:80/a"),
        ("postgresql+psycopg2://me:x@h/d", "postgresql+psycopg2://***@h/d"),
        ("http://h/a?token=x&b=1", "http://h/a?token=***&b=1"),
        ("a@b.c and http://h/x@y", "a@b.c and http://h/x@y"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_addresses(text, shown):
    assert redact(text) == shown


def test_importing_it_is_light():
    program = "import sys, runforge.lineage; print({'mlflow', 'torch', 'dvc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
