"""REF: what a person calls a model, and the folder of the bundle that it means."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runforge import config, places
from runforge.bundle_file import DESCRIPTION


def bundle_folder(reference: str) -> Path:
    """The folder of the bundle that a reference means, fetched from its run where need be.

    A reference is a folder (one that holds a bundle, or is written with a slash), a version in the
    registry (`models:/NAME@ALIAS`, `models:/NAME/VERSION`), or a run: its id, the beginning of one,
    its name, `latest` or `best`. What was fetched is kept under `out/models/<run id>/`. Whether the
    bundle is whole, loading it says. Raises `StoreError` where nothing fits.
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
    from runforge.tracking.registry import find_version
    from runforge.tracking.store import open_store

    store = open_store(project, experiment)
    run_id = find_version(store, reference).run_id if registered else reference
    run = find_run(store, run_id)
    print(f"model: run {run}", file=sys.stderr)
    return download_bundle(store, run.run_id, places.models(project) / run.run_id)
