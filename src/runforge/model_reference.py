"""REF: what a person calls a model, and the folder of the bundle that it means."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runforge import config, places
from runforge.bundle_file import DESCRIPTION
from runforge.errors import StoreError

if TYPE_CHECKING:
    from runforge.tracking.search import RunInfo
    from runforge.tracking.store import Store


def bundle_folder(reference: str) -> Path:
    """The folder of the bundle that a reference means, fetched from its run where need be.

    A reference is a folder (one that holds a bundle, or is written with a slash), a version in the
    registry (`models:/NAME@ALIAS`, `models:/NAME/VERSION`), or a run: its id, the beginning of one,
    its name, `latest`, `best` or `best:DATA`. What was fetched is kept under `out/models/<run
    id>/`. Whether the bundle is whole, loading it says. Raises `StoreError` where nothing fits.
    """
    folder = Path(reference)
    registered = reference.startswith("models:/")
    if not registered and (os.sep in reference or (folder / DESCRIPTION).is_file()):
        return folder
    return _fetched(reference, registered=registered)


def _fetched(reference: str, *, registered: bool) -> Path:
    project = config.find_project()
    experiment = config.experiment_name(project)
    # Imported only now: it takes seconds, and a bundle in a folder needs no store.
    from runforge.tracking.artifacts import download_bundle
    from runforge.tracking.find import find_run
    from runforge.tracking.store import open_store

    store = open_store(project, experiment)
    if registered:
        return _of_version(store, reference)
    run = find_run(store, reference)
    print(f"model: run {run}", file=sys.stderr)
    return download_bundle(store, run.run_id, places.models(project) / run.run_id)


def _of_version(store: Store, reference: str) -> Path:
    """Of a registered version, whose run may be deleted or gone."""
    from runforge.tracking.artifacts import bundle_left
    from runforge.tracking.registry import find_version
    from runforge.tracking.search import run_of_id

    version = find_version(store, reference)
    run, folder = run_of_id(store, version.run_id), bundle_left(store, version.run_id)
    if folder is None:
        what = f"the bundle of {reference} is gone with run {version.run_id}"
        mend = "promote another run (`runforge promote RUN --replace-champion`), or name one"
        raise StoreError(what, where=store.shown_uri, mend=mend)
    if run is None or run.is_deleted:
        print(f"model: warning: {_warning(version.run_id, run, folder)}", file=sys.stderr)
    print(f"model: run {run or version.run_id}", file=sys.stderr)
    return folder


def _warning(run_id: str, run: RunInfo | None, folder: Path) -> str:
    if run is None:
        return f"run {run_id} is gone from the store; the copy in {folder} is used"
    restored = f"`mlflow runs restore --run-id {run_id}`"
    return f"run {run} was deleted, and `mlflow gc` will remove it; keep it: {restored}"
