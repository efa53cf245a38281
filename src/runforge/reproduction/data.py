"""The data of a run, brought into its work tree by DVC's hash; from the project where DVC has none.

Runs DVC as a program, in the work tree, with the project's cache and remotes.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from runforge.dvc_cache import cache, dvc_home
from runforge.dvc_files import altered, folder_hash, listed, tracked
from runforge.errors import DataError
from runforge.redaction import redact

THREADS = 4


@dataclass(frozen=True, slots=True)
class Brought:
    """Where the data come from, and whether they are what the run had."""

    origin: str
    verified: bool = False
    """They have DVC's hash of then: the same files, byte for byte."""
    odd: str | None = None
    """The first file that is not what DVC's hash says."""


def bring(project: Path, copy: Path, data_root: str, dvc_hash: str | None) -> Brought:
    """Puts the data at `data_root` of the work tree `copy`; raises `DataError` where they are gone.

    `dvc_hash`: DVC's name for them when the run was made; None: DVC did not track them.
    """
    root = Path(os.path.normpath(copy / data_root))
    if dvc_hash is None:
        return _as_they_lie(project, root, data_root)
    place = _placed(copy, root, dvc_hash)
    said = _by_dvc(project, copy, place)
    if said is None:
        odd = altered(listed(copy, root) or {}, THREADS)
        told = str(odd[0].relative_to(copy)) if odd else None
        return Brought("DVC's cache or remote", verified=not odd, odd=told)
    return _from_the_project(project, copy, place, dvc_hash, said)


def _as_they_lie(project: Path, root: Path, data_root: str) -> Brought:
    """DVC knows nothing of them: the fingerprint will tell whether they have changed."""
    if root.exists():  # in git, or somewhere else on this machine
        return Brought(f"{data_root}, as it lies there")
    there = project / data_root
    if not there.is_dir():
        raise DataError(
            "the data can no longer be had",
            where=f"looked at {there}; DVC did not track them when the run was made",
            mend="put them there again",
        )
    _link(root, there)
    return Brought(f"{data_root} of the project, as it lies there now (DVC did not track it)")


def _link(place: Path, there: Path) -> None:
    if not place.parent.is_dir() and place.is_absolute():
        place.parent.mkdir(parents=True)
    place.symlink_to(there.resolve(), target_is_directory=True)


def _placed(copy: Path, root: Path, dvc_hash: str) -> Path:
    """What DVC is to bring; said by a file of its own where the commit and patch don't say it."""
    found = tracked(copy, root)
    if found is not None and found.hash == dvc_hash:
        return found.path
    entry = {"md5": dvc_hash, "hash": "md5", "path": root.name}
    root.parent.mkdir(parents=True, exist_ok=True)
    file = root.with_name(f"{root.name}.dvc")
    file.write_text(yaml.safe_dump({"outs": [entry]}), encoding="utf-8")
    return root


def _by_dvc(project: Path, copy: Path, place: Path) -> str | None:
    """Has DVC bring the data: from its cache, else from a remote; returns why it can't."""
    home = dvc_home(copy)
    if not (home / ".dvc").is_dir():
        return "the commit is no DVC repository"
    _share(dvc_home(project), home)
    said = ""
    for command in ("checkout", "pull"):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", command, "--quiet", "--force", str(place)],
            cwd=copy,
            env={k: v for k, v in os.environ.items() if not k.startswith("DVC_STAGE")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0 and place.exists():
            return None
        said = " ".join(redact(done.stderr).split()) or f"dvc {command} failed"
    return said


def _share(project: Path, copy: Path) -> None:
    """The project's own settings, its cache and its remotes, whose paths count from its folder."""
    own, settings = project / ".dvc", configparser.RawConfigParser(strict=False)
    settings.optionxform = str  # type: ignore[assignment,method-assign]
    shared = configparser.RawConfigParser(strict=False)
    shared.read(own / "config", encoding="utf-8")
    settings.read(own / "config.local", encoding="utf-8")
    for section in {*shared.sections(), *settings.sections()}:
        url = settings.get(section, "url", fallback=shared.get(section, "url", fallback=None))
        if url and "://" not in url and not Path(url).is_absolute():
            if not settings.has_section(section):
                settings.add_section(section)
            settings.set(section, "url", os.path.normpath(own / url))
    if not settings.has_section("cache"):
        settings.add_section("cache")
    settings.set("cache", "dir", str(cache(project)))
    with (copy / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        settings.write(file)


def _from_the_project(project: Path, copy: Path, place: Path, dvc_hash: str, said: str) -> Brought:
    """The project's own data, where they still are what DVC's hash says."""
    name = place.relative_to(copy)
    there = project / name
    now = folder_hash(there) if there.is_dir() else None
    if now != dvc_hash:
        found = f"is now {now}" if now else "is not there"
        looked = f"in {cache(project)}, by `dvc pull` ({said}), and at {there}, which {found}"
        raise DataError(
            f"the data {dvc_hash} can no longer be had",
            where=f"looked {looked}",
            mend=f"bring them into the cache: `dvc pull`, or restore {name} and `dvc add` it",
        )
    _link(place, there)
    return Brought(f"{name} of the project, which has that hash", verified=True)
