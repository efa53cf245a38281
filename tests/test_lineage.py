"""Lineage says where a run comes from, says so where it can't know, and keeps secrets."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from runforge import lineage_file
from runforge.errors import DataError
from runforge.lineage import collect, dvc_hash
from runforge.patch import LIMIT_BYTES, uncommitted
from runforge.redaction import is_secret_name, redact, redact_arguments
from tests.made_sets import class_schema

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
    (project / "metrics.json").write_text("{}\n")
    (project / "out").mkdir()
    (project / "out" / "x").write_text("x")
    found = collect(project, data_root=None, command=COMMAND)
    assert found.git is not None and not found.git.dirty


@pytest.mark.parametrize("file", ["code.py", "new.py", "conf.yaml", "conf/metrics.json"])
def test_any_other_change_is_dirty(project, file):
    (project / "conf").mkdir()
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


def applied(project: Path, patch: bytes, folder: Path) -> dict[str, bytes]:
    """The files of a clean work tree of HEAD with the patch."""
    git(project, "worktree", "add", "-q", "--detach", str(folder))
    subprocess.run(["git", "apply", "--binary"], cwd=folder, input=patch, check=True)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    every = (p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in every}


def test_without_changes_there_is_no_patch(project):
    (project / "params.yaml").write_text("seed: 1\n")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (project / "metrics.json").write_text("{}\n")
    patch = uncommitted(project, data_root=project / "data")
    assert patch is not None and (patch.content, patch.state) == (b"", "none")


def test_what_bears_the_name_of_a_pipeline_s_file_elsewhere_is_in_the_patch(project):
    (project / "conf").mkdir()
    for name in ("params.yaml", "metrics.json"):
        (project / "conf" / name).write_text("{}\n")
    patch = uncommitted(project, data_root=project / "data")
    assert patch is not None and patch.state == "whole"
    assert b"b/conf/params.yaml" in patch.content and b"b/conf/metrics.json" in patch.content


def test_a_patch_brings_back_every_change_of_code_and_configuration(project, tmp_path):
    (project / "old.py").write_text("x = 1\n")
    (project / "weights.bin").write_bytes(bytes(range(256)))
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "more")
    (project / "code.py").write_bytes("ä = 'ß'\r\nlatin = '\xe4'".encode("latin-1"))
    (project / "old.py").unlink()
    (project / "weights.bin").write_bytes(bytes(reversed(range(256))) * 3)
    (project / "conf").mkdir()
    (project / "conf" / "new, odd 'name'.yaml").write_text("a: 1\n")
    (project / "staged.py").write_text("s = 1\n")
    git(project, "add", "staged.py")
    (project / "staged.py").write_text("s = 2\n")
    before = (project / ".git" / "index").read_bytes()
    objects = files(project / ".git" / "objects")
    patch = uncommitted(project, data_root=project / "data")
    assert patch is not None and patch.state == "whole"
    assert (project / ".git" / "index").read_bytes() == before
    assert files(project / ".git" / "objects") == objects
    assert applied(project, patch.content, tmp_path / "clean") == files(project)


def test_what_is_no_code_or_ignored_or_data_is_no_part_of_a_patch(project):
    for name in ("notes.md", "photo.png", "data/a.py", "out/b.py", "other/readme.txt"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("x")
    patch = uncommitted(project, data_root=project / "data")
    assert patch is not None and patch.state == "none"


def test_what_had_to_be_left_out_is_named(project, monkeypatch, tmp_path):
    monkeypatch.setenv("SERVICE_TOKEN", "correct-horse-battery")
    (project / "table").mkdir()
    (project / "table" / "rows.csv").write_text("1\n")
    (project / "big.py").write_text("")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "data in git")
    (project / "table" / "rows.csv").write_text("2\n")
    (project / "big.py").write_text("x" * (LIMIT_BYTES + 1))
    (project / "secret.py").write_text("token = 'correct-horse-battery'\n")
    (project / "address.yaml").write_text("uri: postgresql://me:hunter2@host/db\n")
    (project / "code.py").write_text("a = 5\n")
    patch = uncommitted(project, data_root=project / "table")
    assert patch is not None
    assert set(patch.left_out) == {
        "table/rows.csv (data)",
        "big.py (too large)",
        "secret.py (holds a secret)",
        "address.yaml (holds a secret)",
    }
    assert patch.state.startswith("left out: table/rows.csv (data), big.py (too large)")
    assert b"correct-horse" not in patch.content and b"hunter2" not in patch.content
    assert applied(project, patch.content, tmp_path / "clean")["code.py"] == b"a = 5\n"


def test_many_changes_that_together_are_too_large(project):
    for number in range(4):
        (project / f"m{number}.py").write_text("y = 1\n" * (LIMIT_BYTES // 20))
    patch = uncommitted(project, data_root=None)
    assert patch is not None
    assert 0 < len(patch.content) <= LIMIT_BYTES
    assert patch.left_out == ("m2.py (too large)", "m3.py (too large)")


def test_there_is_no_patch_without_a_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert uncommitted(tmp_path, data_root=None) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    assert uncommitted(tmp_path, data_root=None) is None


def test_a_user_s_settings_of_git_change_no_patch(project, tmp_path):
    for key, value in (
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("color.ui", "always"),
        ("diff.context", "0"),
        ("status.showUntrackedFiles", "no"),
    ):
        git(project, "config", key, value)
    (project / "code.py").write_text("a = 6\n")
    (project / "new.py").write_text("b = 6\n")
    patch = uncommitted(project, data_root=None)
    assert patch is not None
    assert applied(project, patch.content, tmp_path / "clean") == files(project)


def test_the_description_comes_back_as_it_was_written(project, tmp_path):
    (project / "code.py").write_text("a = 7\n")
    lineage = collect(project, data_root="data", command=COMMAND, overrides=("seed=1",))
    patch = uncommitted(project, data_root=project / "data")
    values = {"data": {"root": "data"}, "seed": 1}
    replace(class_schema([1, 1]), fingerprint="f").write(tmp_path / "schema.json")
    told = lineage_file.describe(lineage, patch, values=values, prepared=tmp_path, steps=("train",))
    assert told.data_fingerprint == "f"
    lineage_file.write(tmp_path / "lineage", told, patch)
    read = lineage_file.read(tmp_path / "lineage" / "lineage.json")
    assert read.commit == git(project, "rev-parse", "HEAD")
    assert (read.patch, read.steps, read.data_root) == ("whole", ("train",), "data")
    assert read.lineage["overrides"] == ["seed=1"] and "requirements" not in read.lineage
    assert read.code["lineage.py"] == told.code["lineage.py"]
    assert read.configuration_hash == lineage_file.configuration_hash(values)
    assert (tmp_path / "lineage" / "changes.patch").read_bytes() == patch.content


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "patch": 3}'])
def test_a_damaged_description_is_refused(tmp_path, text):
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(DataError, match=r"lineage\.json"):
        lineage_file.read(tmp_path / "lineage.json")


def test_a_change_of_the_same_size_in_the_moment_of_the_commit_is_seen(project):
    for number in range(2, 7):
        (project / "code.py").write_text(f"a = {number}\n")
        git(project, "commit", "-q", "-a", "-m", "next")
        (project / "code.py").write_text("a = 9\n")
        patch = uncommitted(project, data_root=None)
        assert patch is not None and b"+a = 9" in patch.content
