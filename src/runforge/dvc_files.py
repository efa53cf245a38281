"""DVC's files, read without DVC, which takes seconds to import: what it tracks, and whether the
data lie there as it tracked them.

DVC restores a damaged object of its cache without a word where the object is read-only, as its own
are, and calls the data up to date from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from runforge.dvc_cache import cache, dvc_home
from runforge.errors import DataError
from runforge.places import outermost_project

LOCK = "dvc.lock"
RUNNING, IS_RUNNING = ".dvc/tmp/exps/run/workspace/workspace.run", 2
"""Where DVC notes an experiment that it runs in the project itself; the status of a running one."""
FOLDER_HASH = ".dir"
"""What the hash of a folder ends with; it is that of a listing of the files in it."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A file or folder that DVC tracks."""

    path: Path
    hash: str | None


def tracked(project: Path, path: Path) -> Tracked | None:
    """What DVC tracks at `path`, or a folder above it; None where it tracks nothing.

    Read from the `.dvc` files beside it and from `dvc.lock`: what was last committed to DVC, not
    what lies there now.
    """
    target = _plain(path)
    above = [folder for folder in target.parents if folder.is_relative_to(project)]
    for folder in above or [target.parent]:
        for output in _outputs(folder):
            place = _plain(folder / str(output.get("path")))
            if target.is_relative_to(place):
                return Tracked(place, _hash(output))
    return None


def dvc_hash(project: Path, path: Path) -> str | None:
    """The hash under which DVC tracks `path`, or a folder above it; None where it does not."""
    found = tracked(project, path)
    return found.hash if found else None


def check_data(project: Path, root: Path, threads: int) -> None:
    """Raises `DataError` that names a file under `root` that is not as DVC tracked it.

    Files that DVC does not list are none of its business. Where its cache has no listing, the data
    did not come from the cache, and there is nothing to hold them against.
    """
    found, expected = tracked(project, root), listed(project, root) or {}
    odd = altered(expected, threads)
    if found and odd:
        others = f" and {len(odd) - 1} others" if len(odd) > 1 else ""
        mend = (
            f"if you changed it: `dvc add {shlex.quote(found.path.name)}`; if not, DVC's cache is "
            f"damaged: remove the file and {_object(project, expected[odd[0]])}, then `dvc pull`"
        )
        what = f"this file{others} is not as DVC tracked it"
        raise DataError(what, where=str(odd[0]), mend=mend)


def listed(project: Path, root: Path) -> dict[Path, str] | None:
    """The MD5 of each file that DVC lists under `root`; None where it has no listing.

    Raises `DataError` where the listing is damaged.
    """
    found = tracked(project, root)
    listing = _listing(project, found.hash) if found and found.hash else None
    if found is None or listing is None:
        return None
    paths = {found.path / entry["relpath"]: entry["md5"] for entry in listing}
    return {p: md5 for p, md5 in paths.items() if p.is_relative_to(_plain(root))}


def altered(expected: Mapping[Path, str], threads: int) -> list[Path]:
    """The files, in order, whose MD5 is another than expected, or that are not there."""
    with ThreadPoolExecutor(threads) as pool:
        hashes = pool.map(_md5, expected, chunksize=1)
        return [p for (p, want), got in zip(expected.items(), hashes, strict=True) if want != got]


_new_md5 = partial(hashlib.md5, usedforsecurity=False)
"""It finds damage; who can write the data can write what they are held against too."""


def _md5(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _new_md5).hexdigest()
    except OSError:
        return None


def _listing(project: Path, name: str) -> list[dict[str, str]] | None:
    """DVC's listing of a folder: the path in it and the MD5 of each file."""
    path = _object(project, name)
    if not name.endswith(FOLDER_HASH) or not path.is_file():
        return None
    content = path.read_bytes()
    if _new_md5(content).hexdigest() != name.removesuffix(FOLDER_HASH):
        mend = "remove it, then `dvc fetch` or `dvc add`"
        raise DataError("DVC's listing of the data is damaged", where=str(path), mend=mend)
    found: list[dict[str, str]] = json.loads(content)
    return found


def folder_hash(folder: Path) -> str:
    """DVC's hash of a folder as it lies there now; raises OSError for what can't be read.

    Of what `.dvcignore` names DVC knows nothing: with such files the hash is another.
    """
    paths = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    listing = [{"md5": _md5(folder / path), "relpath": path.replace(os.sep, "/")} for path in paths]
    text = json.dumps(listing, sort_keys=True)
    return _new_md5(text.encode()).hexdigest() + FOLDER_HASH


def _object(project: Path, name: str) -> Path:
    """Where DVC's cache has what it calls by a hash."""
    return cache(project) / "files" / "md5" / name[:2] / name[2:]


def experiment(project: Path) -> str | None:
    """The name of the `dvc exp run` that this command is a part of; None outside of one.

    DVC hands it over as `DVC_EXP_NAME`, which people set in their shells too. So it counts only in
    a copy that DVC makes for experiments, or where DVC has noted that it is running one of that
    name, from that commit, in the project itself.
    """
    name, commit = os.environ.get("DVC_EXP_NAME"), os.environ.get("DVC_EXP_BASELINE_REV")
    if not name:
        return None
    if outermost_project(project) != project.resolve():
        return name
    try:
        noted = json.loads((dvc_home(project) / RUNNING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    told = (noted.get("name"), noted.get("baseline_rev"), noted.get("status"))
    return name if told == (name, commit, IS_RUNNING) else None


def _outputs(folder: Path) -> Iterator[Mapping[str, Any]]:
    """What the `.dvc` files and the `dvc.lock` of a folder say that DVC tracks."""
    for file in sorted(folder.glob("*.dvc")):
        if file.is_file():
            yield from _read_yaml(file).get("outs") or []
    for stage in (_read_yaml(folder / LOCK).get("stages") or {}).values():
        yield from stage.get("outs") or []


def _hash(output: Mapping[str, Any]) -> str | None:
    names = (str(output.get("hash")), "md5", "etag", "checksum")
    return next((str(output[name]) for name in names if name in output), None)


def _plain(path: Path) -> Path:
    """Without `..`, but with links left as they are: DVC tracks the link's place."""
    return Path(os.path.normpath(path))


def _read_yaml(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
