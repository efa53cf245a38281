"""Fetching what runs have recorded: bundles and single files."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from runforge import places
from runforge.bundle_file import DESCRIPTION, WEIGHTS
from runforge.errors import StoreError
from runforge.foreign import regular
from runforge.tracking.search import KIND, SWEEP, TRAINED_BY, RunInfo, run_of_id
from runforge.tracking.store import Store, errors_of_store

BUNDLE = "bundle"
"""The artifact folder of a run's bundle."""

PREDICTIONS = "evaluation/predictions.parquet"
"""The artifact file of what a run's evaluation predicted."""

_LOOK = "look what is there: `mlflow artifacts list --run-id RUN`"


def fetch_file(store: Store, run_id: str, name: str, folder: Path) -> Path | None:
    """Copies the artifact file `name` (`evaluation/predictions.parquet`) into `folder`.

    Returns the copy, `folder/<last part of the name>`; None where the run has no such file. Raises
    `StoreError` where the store does not answer or a link is in its place.
    """
    what = f"{name} of run {run_id} can't be fetched"
    parent, _, last = name.rpartition("/")
    with errors_of_store(store.uri, what, _LOOK):
        root = _local_root(store, run_id)
        if root is not None:
            return _copied(root, name, folder)
        listed = store.client.list_artifacts(run_id, parent or None)
        if name not in {entry.path for entry in listed if not entry.is_dir}:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as beside:
            copied = store.client.download_artifacts(run_id, name, beside)
            return regular(Path(copied), _LOOK).replace(folder / last)


def download_bundle(store: Store, run_id: str, destination: Path) -> Path:
    """Copies a run's bundle to the folder `destination`, whole or not at all, and returns it.

    Its two files only, by names of ours: no name that a server tells becomes a path here. A copy
    that is there already is kept: another trial may be reading it. Raises `StoreError` where the
    run has no bundle, or a link in its place.
    """
    if destination.is_dir():
        return destination
    what = f"the bundle of run {run_id} can't be fetched"
    with errors_of_store(store.uri, what, _LOOK):
        if not store.client.list_artifacts(run_id, BUNDLE):
            raise _without_bundle(store, run_id)
        _refuse_links(store, run_id, BUNDLE, f"{BUNDLE}/{DESCRIPTION}", f"{BUNDLE}/{WEIGHTS}")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=destination.parent) as folder:
            whole = Path(folder, "whole")
            whole.mkdir()
            for name in (DESCRIPTION, WEIGHTS):
                copied = store.client.download_artifacts(run_id, f"{BUNDLE}/{name}", folder)
                regular(Path(copied), _LOOK).replace(whole / name)
            _take_place(whole, destination)
    return destination


def bundle_left(store: Store, run_id: str) -> Path | None:
    """The bundle of a run that the store may not have any more; None where nothing is left of it.

    What was fetched before, or the run's own folder holds, will do: each says whose it is.
    """
    project = store.project
    fetched = places.models(project) / run_id
    for folder in (fetched, places.run_folder(project, run_id) / "model"):
        if (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file():
            return folder
    if run_of_id(store, run_id) is None:
        return None
    with errors_of_store(store.uri, f"the bundle of run {run_id} can't be looked for", _LOOK):
        if not store.client.list_artifacts(run_id, BUNDLE):
            return None
    return download_bundle(store, run_id, fetched)


def lost_artifacts(store: Store, run_id: str) -> str:
    """`: its artifacts are gone, …` where a run's whole folder is no more; else nothing."""
    root = _local_root(store, run_id)
    return f": its artifacts are gone, there is no {root}" if root and not root.is_dir() else ""


def _without_bundle(store: Store, run_id: str) -> StoreError:
    run = run_of_id(store, run_id)
    assert run is not None
    what, mend = f"run {run} has no bundle", "name a run that finished training: `runforge runs`"
    if KIND in run.tags:
        what = f"run {run} is a {run.tags[KIND]} and has no model of its own"
        mend = _trial_of(run)
    elif TRAINED_BY in run.tags:
        what += ": it evaluated a model that this store has no run of"
        mend = "take that model: --model out/model"
    elif run.status == "FINISHED":
        what += lost_artifacts(store, run_id)
        left = bundle_left(store, run_id)
        mend = f"a copy is left: --model {left}" if left else "name another run: `runforge runs`"
    return StoreError(what, where=store.shown_uri, mend=mend)


def _trial_of(run: RunInfo) -> str:
    """What to name in place of a run that has no model."""
    best = run.tags.get("runforge.best_run_id")
    if run.tags[KIND] == SWEEP and best:
        return f"name its best trial: {best[:8]}"
    return "name a run or a trial: `runforge runs`"


def _take_place(whole: Path, destination: Path) -> None:
    try:
        whole.rename(destination)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _copied(root: Path, name: str, folder: Path) -> Path | None:
    """As MLflow's client would, but at once: it asks the database four times for each file."""
    if not (root / name).is_file():
        return None
    _refuse_link(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(root / name, folder / Path(name).name))


def _refuse_links(store: Store, run_id: str, *names: str) -> None:
    root = _local_root(store, run_id)
    if root is not None:
        for name in names:
            _refuse_link(root, name)


def _refuse_link(root: Path, name: str) -> None:
    """Copying would copy what it leads to, wherever that is on this machine."""
    parts = Path(name).parts
    for path in (root.joinpath(*parts[: end + 1]) for end in range(len(parts))):
        if path.is_symlink():
            mend = "put the file itself there"
            raise StoreError("it is a link, not the file itself", where=str(path), mend=mend)


def _local_root(store: Store, run_id: str) -> Path | None:
    """The folder of a run's artifacts; None where they are not on this machine's disk."""
    artifacts = store.client.get_run(run_id).info.artifact_uri
    if not is_local_uri(artifacts):  # type: ignore[no-untyped-call]
        return None
    return Path(local_file_uri_to_path(artifacts))  # type: ignore[no-untyped-call]
