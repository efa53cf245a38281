"""What the store has of a run, as far as making it again goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runforge import lineage_file
from runforge.config import flatten
from runforge.errors import DataError, StoreError
from runforge.lineage_file import LineageFile
from runforge.tracking.artifacts import fetch_file, lost_artifacts
from runforge.tracking.find import find_run
from runforge.tracking.search import KIND, SWEEP, TRAINED_BY, RunInfo, run_of_id
from runforge.tracking.store import Store

_ANOTHER = "name another run: `runforge runs`"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run and the artifacts that say where it comes from, fetched."""

    run: RunInfo
    lineage: LineageFile
    configuration: dict[str, Any]
    """The artifact as it is now; `altered_keys` says whether it is what was run."""
    evaluated_as: dict[str, Any] | None
    """The node `evaluation` of the configuration, where it was evaluated once more."""
    requirements: tuple[str, ...]
    patch: Path | None

    @property
    def altered_keys(self) -> tuple[str, ...]:
        """What in the configuration is not as it was when the run began, as `key: was → is`."""
        if lineage_file.configuration_hash(self.configuration) == self.lineage.configuration_hash:
            return ()
        now = {key: _text(value) for key, value in flatten(self.configuration).items()}
        was = self.run.parameters
        odd = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        told = tuple(f"{key}: {was.get(key)} → {now.get(key)}" for key in odd)
        return told or (f"{lineage_file.CONFIGURATION} was altered",)


def fetch(store: Store, reference: str, folder: Path) -> Recorded:
    """The run that a reference means, if it can be made again; raises `StoreError`, `DataError`."""
    run = find_run(store, reference)
    _check(store, run)
    _check_origin(store, run)
    described = _file(store, run, f"{lineage_file.FOLDER}/{lineage_file.DESCRIPTION}", folder)
    return Recorded(
        run=run,
        lineage=lineage_file.read(described),
        configuration=_yaml(_file(store, run, lineage_file.CONFIGURATION, folder)),
        evaluated_as=_evaluated_as(store, run, folder),
        requirements=requirements(store, run, folder),
        patch=fetch_file(
            store, run.run_id, f"{lineage_file.FOLDER}/{lineage_file.CHANGES}", folder
        ),
    )


def requirements(store: Store, run: RunInfo, folder: Path) -> tuple[str, ...]:
    """Every package that was installed when a run was made, as `name==version`."""
    path = _file(store, run, lineage_file.REQUIREMENTS, folder)
    return tuple(path.read_text(encoding="utf-8").split())


def _check(store: Store, run: RunInfo) -> None:
    problem = None
    if run.tags.get(KIND) == SWEEP:
        problem = "it is a sweep; its trials can be made again, one by one"
    elif run.tags.keys() & {KIND, TRAINED_BY}:
        problem = "it trained nothing"
    elif run.status != "FINISHED":
        problem = f"it is {run.status.lower()}, there is nothing whole to compare with"
    if problem:
        raise StoreError(f"run {run}: {problem}", where=store.shown_uri, mend=_ANOTHER)


def _check_origin(store: Store, run: RunInfo) -> None:
    """The run that it began with the weights of, if it did, is there and was not deleted."""
    origin = run.tags.get("runforge.init_from")
    if origin is None:
        return
    found = run_of_id(store, origin)
    if found is None:
        what = f"run {run} began with the weights of run {origin}, which `mlflow gc` has removed"
        raise StoreError(what, where=store.shown_uri, mend=_ANOTHER)
    if found.is_deleted:
        what = f"run {run} began with the weights of run {found}, which was deleted"
        mend = f"bring it back: `mlflow runs restore --run-id {origin}`"
        raise StoreError(what, where=store.shown_uri, mend=mend)


def _file(store: Store, run: RunInfo, name: str, folder: Path) -> Path:
    path = fetch_file(store, run.run_id, name, folder)
    if path is None:
        lost = lost_artifacts(store, run.run_id)
        what = f"run {run} has no {name}"
        what += lost or ": it was recorded by an older runforge, or by none"
        raise StoreError(what, where=store.shown_uri, mend=_ANOTHER)
    return path


def _evaluated_as(store: Store, run: RunInfo, folder: Path) -> dict[str, Any] | None:
    path = fetch_file(store, run.run_id, lineage_file.EVALUATED_AS, folder)
    return None if path is None else dict(_yaml(path)["evaluation"])


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"no valid YAML: {error}", where=path.name, mend=_ANOTHER) from error
    if not isinstance(values, Mapping):
        raise DataError("holds no keys", where=path.name, mend=_ANOTHER)
    return dict(values)


def _text(value: Any) -> str:
    """As MLflow's parameters have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
