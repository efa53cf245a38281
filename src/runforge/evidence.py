"""What a run's model is worth: its recorded predictions, or new ones for other data."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from runforge import bundle, evaluating, places
from runforge.errors import DataError, StoreError
from runforge.exporting import Export
from runforge.gates import Evidence, comparable
from runforge.predictions import Predictions
from runforge.prepared import PreparedSet, find_set
from runforge.tracking.artifacts import (
    PREDICTIONS,
    bundle_left,
    download_bundle,
    fetch_file,
    lost_artifacts,
)
from runforge.tracking.search import KIND, PRIMARY_METRIC, RunInfo, run_of_id
from runforge.tracking.store import Store
from runforge.tracking.values import figures


def evidence_of(store: Store, run: RunInfo) -> Evidence:
    """As the run's evaluation recorded it; raises `StoreError` where it has none."""
    found = _recorded(store, run)
    if found is None:
        what = "it was not evaluated"
        if KIND in run.tags:
            what = f"it is a {run.tags[KIND]} and has no model of its own"
        elif PRIMARY_METRIC in run.tags:
            what = f"its predictions are gone{lost_artifacts(store, run.run_id)}"
        mend = "name a run that was evaluated: `runforge runs`"
        raise StoreError(what, where=f"run {run}", mend=mend)
    return found


def evidence_of_champion(
    store: Store, run_id: str, candidate: Evidence, data: PreparedSet
) -> Evidence | None:
    """What the champion is worth on the samples that `candidate` is of.

    As it was recorded, else what its model says of them now. None: its run was removed, or its
    files, and neither can be had any more.
    """
    run = run_of_id(store, run_id)
    recorded = None if run is None else _recorded(store, run)
    if recorded is not None and comparable(candidate.predictions, recorded.predictions):
        return recorded
    folder = bundle_left(store, run_id)
    return None if folder is None else _on_the_samples_of(candidate, run_id, folder, data)


def _recorded(store: Store, run: RunInfo) -> Evidence | None:
    split, _, name = run.tags.get(PRIMARY_METRIC, "").rpartition(":")[0].partition("/")
    with TemporaryDirectory() as folder:
        file = fetch_file(store, run.run_id, PREDICTIONS, Path(folder))
        if file is None or not name:
            return None
        predictions = Predictions.read(file)
        every = figures(store, run, Path(folder))
    numbers = {n.removeprefix(f"{split}/"): value for n, value in every.items()}
    return Evidence(run.run_id, numbers, predictions)


def bundle_of(store: Store, project: Path, run_id: str) -> Path:
    """The folder of a run's bundle, fetched where need be."""
    return download_bundle(store, run_id, places.models(project) / run_id)


def set_of(project: Path, run: RunInfo) -> PreparedSet:
    """The prepared set that a run was evaluated on; raises `DataError` where it is gone."""
    fingerprint = run.tags.get("runforge.data_fingerprint", "")
    folder = find_set(project, fingerprint)
    if folder is None:
        what = f"the data that run {run} was evaluated on are not prepared here any more"
        mend = "prepare the same data again: `dvc repro prepare`, or `runforge train` on them"
        raise DataError(what, where=str(places.sets(project)), mend=mend)
    return PreparedSet.open(folder)


def _on_the_samples_of(
    candidate: Evidence, run_id: str, folder: Path, data: PreparedSet
) -> Evidence:
    """What the model of run `run_id`, the bundle in `folder`, says of the candidate's samples."""
    model = bundle.load(folder)
    try:
        evaluating.check_same_data(model, data)
    except DataError as error:
        what = f"the champion (run {run_id}) can't be held against it: {error.what}"
        mend = "let it compete under another name: promotion.model=NAME"
        raise DataError(what, where=f"run {candidate.run_id}", mend=mend) from error
    predictions = evaluating.predict_split(model, data, candidate.predictions.split)
    figures = model.task.figures(predictions, resamples=evaluating.FEW, seed=0)
    return Evidence(run_id, figures.numbers(), predictions)


def export_difference(evidence: Evidence, folder: Path, data: PreparedSet) -> float:
    """By how much the exported model misses what the trained one predicted, over every sample."""
    predictions, place = evidence.predictions, {name: row for row, name in enumerate(data.ids)}
    if not place.keys() >= set(predictions.ids.tolist()):
        mend = "evaluate it again on the data that it was trained on"
        where = f"run {evidence.run_id}"
        raise DataError("it was evaluated on samples of other data", where=where, mend=mend)
    rows = np.array([place[name] for name in predictions.ids.tolist()])
    model = bundle.load(folder)
    return Export(model, np.asarray(data.inputs[rows]), {}).largest_difference(predictions.values)
