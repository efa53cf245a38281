"""Lineage: what ties a run to the code, data, environment and machine that made it.

Of git it asks `git`, of DVC `dvc_files`, of the machine `environment`.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runforge import environment, git
from runforge.dvc_files import dvc_hash, experiment
from runforge.notices import notice
from runforge.places import NOT_THE_PIPELINES, outermost_project
from runforge.redaction import redact, redact_arguments

MAIN_PACKAGES = (
    "runforge",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "mlflow",
    "dvc",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class GitState:
    """The work tree as git sees it."""

    commit: str | None
    """None before the first commit."""
    branch: str | None
    """None where no branch is checked out, as in DVC's temporary copies."""
    dirty: bool
    """Changes or new files, the pipeline's own outputs aside."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a run comes from; None is what could not be known."""

    git: GitState | None
    """None: the project is no git repository, or git failed."""
    git_problem: str | None
    """Why git says nothing of a repository that is there; None: it does, or there is none."""
    data_dvc_hash: str | None
    """DVC's hash of the data root, `….dir` for a folder; None: DVC does not track it."""
    dvc_experiment: str | None
    command: str
    """As typed, secrets hidden."""
    overrides: tuple[str, ...]
    """Of `conf/`, as typed; none where DVC composed the configuration."""
    code_root: str | None
    """The folder in the project that the running code was imported from; None: it lies elsewhere,
    as an installed package."""
    python: str
    platform: str
    cpu: str
    cpu_count: int
    gpus: tuple[str, ...]
    packages: dict[str, str]
    """Versions of the main packages by name."""
    requirements: str
    """Every installed package as `name==version`, one a line."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def to_tags(self) -> dict[str, str]:
        """Flat texts `runforge.…`; what is not known is left out."""
        tags = {
            **self._git_tags(),
            "data_dvc_hash": self.data_dvc_hash,
            "dvc_experiment": self.dvc_experiment,
            "command": self.command,
            "overrides": shlex.join(self.overrides) or None,
            "code_root": self.code_root,
            "python": self.python,
            "platform": self.platform,
            "cpu": f"{self.cpu} × {self.cpu_count}",
            "gpus": ", ".join(self.gpus) or "none",
            "packages": ", ".join(f"{name} {number}" for name, number in self.packages.items()),
        }
        return {f"runforge.{name}": value for name, value in tags.items() if value is not None}

    def _git_tags(self) -> dict[str, str | None]:
        if self.git is None:
            return {"git": self.git_problem or "not a git repository"}
        dirty = "true" if self.git.dirty else "false"
        return {"git_commit": self.git.commit, "git_branch": self.git.branch, "git_dirty": dirty}


def collect(
    project: Path,
    *,
    data_root: str | Path | None,
    command: str,
    overrides: Sequence[str] = (),
) -> Lineage:
    """The lineage of a run started now in `project` by `command`.

    `data_root` counts from the project; None where a run reads no data of its own.
    """
    root = project.resolve()
    state, problem = _git_state(root)
    if problem is not None:
        hint = "until git answers, no run made here can be made again"
        notice(f"git does not say what is committed: {problem}", where=str(root), hint=hint)
    return Lineage(
        git=state,
        git_problem=problem,
        data_dvc_hash=None if data_root is None else dvc_hash(root, root / data_root),
        dvc_experiment=experiment(root),
        command=_redacted(command),
        overrides=tuple(redact_arguments(overrides)),
        code_root=_code_root(root),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=environment.cpu(),
        cpu_count=os.cpu_count() or 1,
        gpus=environment.gpus(),
        packages=environment.versions(MAIN_PACKAGES),
        requirements=environment.requirements(),
    )


def _git_state(project: Path) -> tuple[GitState | None, str | None]:
    """The state, or why git does not say it though there is a repository.

    As where it belongs to another user (a mounted folder in a container) or `git status` takes too
    long: taken for no repository, or for a clean one, the lineage would be wrong without a word.
    """
    status = ("status", "--porcelain", "--untracked-files=normal", *NOT_THE_PIPELINES)
    try:
        if git.run(project, "rev-parse", "--is-inside-work-tree").strip() != b"true":
            return None, None
        changes = git.run(project, *status)
    except git.GitFailed as error:
        there = any((folder / ".git").exists() for folder in (project, *project.parents))
        return None, str(error) if there else None
    state = GitState(
        commit=git.output(project, "rev-parse", "--verify", "--quiet", "HEAD") or None,
        branch=git.output(project, "symbolic-ref", "--quiet", "--short", "HEAD") or None,
        dirty=bool(changes),
    )
    return state, None


def _code_root(project: Path) -> str | None:
    """Of a copy that `dvc exp run --temp` made, the outer project's code is the same code."""
    package = Path(__file__).resolve().parent
    for root in (project, outermost_project(project)):
        if package.is_relative_to(root):
            return package.parent.relative_to(root).as_posix()
    return None


def _redacted(command: str) -> str:
    try:
        return shlex.join(redact_arguments(shlex.split(command)))
    except ValueError:  # an open quote: no shell wrote it
        return redact(command)
