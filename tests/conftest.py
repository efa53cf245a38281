"""Real projects for the tests that run whole commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

REPOSITORY = Path(__file__).parents[1]
PARTS = (
    "conf",
    "src",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "mlruns/.gitignore",
)


TIMEOUT_S = 900
"""Of a command, on a machine with ten times the work that it can do."""


@dataclass(frozen=True, slots=True)
class Project:
    """A git and DVC repository of its own, with runforge's code and configuration."""

    folder: Path

    def run(
        self, *command: str, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the project; fails the test where it ends otherwise than `code`."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**clean_environment(), **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if code is not None and done.returncode != code:
            pytest.fail(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def runforge(
        self, *arguments: str, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command of runforge's."""
        return self.run(sys.executable, "-m", "runforge", *arguments, code=code, **environment)

    def git(self, *arguments: str) -> None:
        """Runs git as somebody."""
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments)

    def edit(self, name: str, before: str, after: str) -> None:
        """Replaces text in a file that must hold it."""
        path = self.folder / name
        text = path.read_text()
        assert before in text, f"{name} has no {before!r}"
        path.write_text(text.replace(before, after))


def clean_environment() -> dict[str, str]:
    """The environment of a user's shell with the virtual environment activated."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "PYTEST"))}
    folder = str(Path(sys.executable).parent)
    return {
        **kept,
        "PATH": f"{folder}{os.pathsep}{kept['PATH']}",
        "MPLCONFIGDIR": "/tmp/matplotlib",
    }


def make_project(folder: Path, parts: Sequence[str] = PARTS) -> Project:
    """A project as a clone has it, committed, without data."""
    for part in parts:
        source, target = REPOSITORY / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(source, target)
    project = Project(folder)
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message=start")
    return project


def thin_out(folder: Path, each: int) -> None:
    """Keeps the first `each` files of every class folder: enough to train on, and fast."""
    for label in folder.iterdir():
        for path in sorted(label.iterdir())[each:]:
            path.unlink()


@pytest.fixture
def bare_project(tmp_path: Path) -> Project:
    """A project without data."""
    return make_project(tmp_path / "project")
