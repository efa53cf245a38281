"""Who and what a run comes from, in the tags that MLflow's UI has places for."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_BRANCH,
    MLFLOW_GIT_COMMIT,
    MLFLOW_GIT_DIRTY,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

BRANCH = "runforge.git_branch"
_MIRRORED = {
    "runforge.git_commit": MLFLOW_GIT_COMMIT,
    BRANCH: MLFLOW_GIT_BRANCH,
    "runforge.git_dirty": MLFLOW_GIT_DIRTY,
}
HOST, PID = "runforge.host", "runforge.pid"
"""Tags of a run's driver: see `drivers`."""
STARTED = "runforge.pid_started"
"""When the process started, in a unit of the system's own."""
BOOT = "runforge.boot"
"""Which start of the system, and which of its sets of process numbers (a container has its own)."""
MACHINE = "runforge.machine"
"""What tells apart machines of the same name; empty where the system does not say."""
WHILE_RUNNING = frozenset((PID, STARTED, BOOT, MACHINE))
"""Those that say nothing any more when the run has ended."""

_OF_MODELS = (MLFLOW_USER, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, *_MIRRORED.values())


def process_tags() -> dict[str, str]:
    """User and program as MLflow has them."""
    return {
        MLFLOW_USER: _user(),
        MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name or "python",
        MLFLOW_SOURCE_TYPE: "LOCAL",
    }


def as_mlflow_has_them(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of ours, with those that MLflow has a name and a place for under that name too.

    The branch under that name alone: nothing reads another.
    """
    mirrored = {_MIRRORED[name]: value for name, value in tags.items() if name in _MIRRORED}
    return {name: value for name, value in tags.items() if name != BRANCH} | mirrored


def model_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of a run's tags that its model has too."""
    return {name: tags[name] for name in _OF_MODELS if name in tags}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
