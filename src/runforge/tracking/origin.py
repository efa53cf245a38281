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

_MIRRORED = {
    "runforge.git_commit": MLFLOW_GIT_COMMIT,
    "runforge.git_branch": MLFLOW_GIT_BRANCH,
    "runforge.git_dirty": MLFLOW_GIT_DIRTY,
}
_OF_MODELS = (MLFLOW_USER, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, *_MIRRORED.values())


def process_tags() -> dict[str, str]:
    """User and program as MLflow has them."""
    return {
        MLFLOW_USER: _user(),
        MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name or "python",
        MLFLOW_SOURCE_TYPE: "LOCAL",
    }


def mirrored_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of our tags that MLflow knows under a name of its own, under that name."""
    return {_MIRRORED[name]: value for name, value in tags.items() if name in _MIRRORED}


def model_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of a run's tags that its model has too."""
    return {name: tags[name] for name in _OF_MODELS if name in tags}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
