"""The runs that are compared: found, refused where they can't be, and what they recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runforge import lineage_file
from runforge.config import flatten
from runforge.errors import StoreError, UserError
from runforge.lineage_file import CHANGES, CONFIGURATION, DESCRIPTION, FOLDER, REQUIREMENTS
from runforge.predictions import Predictions
from runforge.prepared import MANIFEST
from runforge.tracking.artifacts import PREDICTIONS, fetch_file, lost_artifacts
from runforge.tracking.find import find_runs
from runforge.tracking.search import KIND, RunInfo
from runforge.tracking.store import Store
from runforge.tracking.values import facts

MOST_RUNS = 26
"""As many as there are letters to call them by."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One run with what is held against the others."""

    info: RunInfo
    predictions: Predictions
    configuration: dict[str, Any] | None
    """Flat keys; None where the run recorded none, and its parameters must do."""
    requirements: tuple[str, ...]
    code: dict[str, str]
    """A hash for each source file of runforge; none where the run recorded none."""
    patch: bytes
    """What was not committed; empty where nothing was, or nothing is known of it."""
    folder: Path
    """Where the copies of its files lie."""
    facts: dict[str, str]
    """Of its origin and machine, by the names of tags."""

    @property
    def fingerprint(self) -> str:
        """Of its prepared set."""
        return self.info.tags.get("runforge.data_fingerprint", "")


def contenders(store: Store, references: Sequence[str], folder: Path) -> list[Contender]:
    """The runs by reference, in that order; copies of their files go into `folder`.

    Raises `UserError` where one is not found, is given twice, has not finished or was not
    evaluated, or where they learned different kinds of target.
    """
    infos = find_runs(store, references)
    _refuse_twice(infos, references)
    for info in infos:
        _refuse_unfinished(info)
    found = [_contender(store, info, folder / info.run_id) for info in infos]
    kinds = {bool(one.predictions.classes) for one in found}
    if len(kinds) > 1:
        told = ", ".join(
            f"{one.info.run_id[:8]} {'a class' if one.predictions.classes else 'a value'}"
            for one in found
        )
        mend = "compare runs of one task"
        raise UserError(f"the runs predict different kinds of target: {told}", mend=mend)
    return found


def manifest(store: Store, contender: Contender) -> Path | None:
    """A copy of the list of its samples; None where the run recorded none."""
    name = f"data/{MANIFEST}"
    return fetch_file(store, contender.info.run_id, name, contender.folder)


def _refuse_twice(infos: Sequence[RunInfo], references: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for info, reference in zip(infos, references, strict=True):
        if info.run_id in seen:
            what = f"{seen[info.run_id]} and {reference} are the same run {info}"
            mend = "name another (`runforge runs`) or train one: `runforge train network=mlp`"
            raise UserError(what, mend=mend)
        seen[info.run_id] = reference


def _refuse_unfinished(info: RunInfo) -> None:
    if info.tags.get(KIND):
        what = f"run {info} is a {info.tags[KIND]} and has no model of its own"
        raise StoreError(what, mend="name a run or a trial: `runforge runs` lists them")
    if info.status != "FINISHED":
        why = info.tags.get("runforge.error", "")
        what = f"run {info} has not finished{f' ({why})' if why else ''}"
        raise StoreError(what, mend="compare finished runs: `runforge runs --status finished`")


def _contender(store: Store, info: RunInfo, folder: Path) -> Contender:
    def fetched(name: str) -> Path | None:
        return fetch_file(store, info.run_id, name, folder)

    predictions = fetched(PREDICTIONS)
    if predictions is None:
        what = f"run {info} has no evaluation ({PREDICTIONS})"
        what += lost_artifacts(store, info.run_id)
        raise StoreError(what, mend="evaluate it: `dvc repro evaluate`, or name another run")
    configuration, requirements = fetched(CONFIGURATION), fetched(REQUIREMENTS)
    lineage = fetched(f"{FOLDER}/{DESCRIPTION}")
    patch = fetched(f"{FOLDER}/{CHANGES}") if lineage else None
    return Contender(
        info=info,
        predictions=Predictions.read(predictions),
        configuration=_configuration(configuration),
        requirements=tuple(requirements.read_text("utf-8").split()) if requirements else (),
        code=lineage_file.read(lineage).code if lineage else {},
        patch=patch.read_bytes() if patch else b"",
        folder=folder,
        facts=facts(store, info, folder),
    )


def _configuration(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        values = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mend = "compare other runs"
        raise StoreError(f"no valid YAML: {error}", where=CONFIGURATION, mend=mend) from error
    return flatten(values) if isinstance(values, Mapping) else None
