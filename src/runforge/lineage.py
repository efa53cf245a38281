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
from runforge.dvc_files import LOCK, dvc_hash, experiment
from runforge.places import outermost_project
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
OWN_OUTPUTS = (LOCK, "params.yaml")
"""What the pipeline itself rewrites in a work tree: their change makes no tree dirty."""


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
    """None: the project is no git repository."""
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
        """Flat tags `runforge.…`; what is not known is left out."""
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
            return {"git": "not a git repository"}
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
    return Lineage(
        git=_git_state(root),
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


def _git_state(project: Path) -> GitState | None:
    if git.output(project, "rev-parse", "--is-inside-work-tree") != "true":
        return None
    others = ("--", ":/", *(f":(exclude,top,glob)**/{name}" for name in OWN_OUTPUTS))
    changes = git.output(project, "status", "--porcelain", "--untracked-files=normal", *others)
    return GitState(
        commit=git.output(project, "rev-parse", "--verify", "--quiet", "HEAD") or None,
        branch=git.output(project, "symbolic-ref", "--quiet", "--short", "HEAD") or None,
        dirty=bool(changes),
    )


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
