"""Lineage: what ties a run to the code, data, environment and machine that made it.

The only module that speaks to git (as a program); of DVC it asks `dvc_files`.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from runforge.dvc_files import LOCK, dvc_hash
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

_ANSWER_TIMEOUT_S = 20


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


def collect(project: Path, *, data_root: str | Path | None, command: str) -> Lineage:
    """The lineage of a run started now in `project` by `command`.

    `data_root` counts from the project; None where a run reads no data of its own.
    """
    root = project.resolve()
    return Lineage(
        git=_git_state(root),
        data_dvc_hash=None if data_root is None else dvc_hash(root, root / data_root),
        dvc_experiment=os.environ.get("DVC_EXP_NAME"),
        command=_redacted(command),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        cpu_count=os.cpu_count() or 1,
        gpus=_gpus(),
        packages=_versions(MAIN_PACKAGES),
        requirements=_requirements(),
    )


def _git_state(project: Path) -> GitState | None:
    if _output(project, "git", "rev-parse", "--is-inside-work-tree") != "true":
        return None
    others = ("--", ":/", *(f":(exclude,top,glob)**/{name}" for name in OWN_OUTPUTS))
    changes = _output(project, "git", "status", "--porcelain", *others)
    return GitState(
        commit=_output(project, "git", "rev-parse", "--verify", "--quiet", "HEAD") or None,
        branch=_output(project, "git", "symbolic-ref", "--quiet", "--short", "HEAD") or None,
        dirty=bool(changes),
    )


def _output(folder: Path, *command: str) -> str | None:
    """What a program prints; None where it is not installed, fails or does not end."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            timeout=_ANSWER_TIMEOUT_S,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip("\n")


def _redacted(command: str) -> str:
    try:
        return shlex.join(redact_arguments(shlex.split(command)))
    except ValueError:  # an open quote: no shell wrote it
        return redact(command)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    query = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return tuple((_output(Path.cwd(), *query) or "").splitlines())


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _requirements() -> str:
    pins = {f"{one.name}=={one.version}" for one in metadata.distributions()}
    return "".join(f"{pin}\n" for pin in sorted(pins, key=str.lower))
