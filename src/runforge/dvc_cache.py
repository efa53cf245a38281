"""DVC's cache, found without DVC: where a repository keeps what it tracks.

With `cache.type` symlink DVC puts links into it in the place of the tracked files.
"""

from __future__ import annotations

import configparser
import os
from functools import lru_cache
from pathlib import Path


def dvc_home(project: Path) -> Path:
    """The top of the DVC repository that a project is, or lies in; itself where there is none."""
    return next((f for f in (project, *project.parents) if (f / ".dvc").is_dir()), project)


def cache(project: Path) -> Path:
    """As DVC's settings say: the user's, the project's, those of this copy; the last one wins."""
    home = dvc_home(project) / ".dvc"
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc"
    place = home / "cache"
    for file in (user / "config", home / "config", home / "config.local"):
        settings = configparser.RawConfigParser(strict=False)
        settings.read(file, encoding="utf-8")
        place = file.parent / settings.get("cache", "dir", fallback=str(place))
    return place


def holds(target: Path, root: Path) -> bool:
    """Whether a resolved path is an object in the cache of the repository that a folder lies in."""
    return target.is_relative_to(_objects(root))


@lru_cache(maxsize=32)
def _objects(root: Path) -> Path:
    return (cache(root) / "files").resolve()
