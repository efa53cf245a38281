"""What a run's model is worth: its recorded predictions, or new ones for other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from runforge import bundle, evaluating, places
from runforge.errors import DataError, StoreError
from runforge.exporting import Export
from runforge.gates import Evidence
from runforge.predictions import Predictions
from runforge.prepared import PreparedSet, find_set
from runforge.tracking.artifacts import PREDICTIONS, download_bundle, fetch_file
from runforge.tracking.find import PRIMARY_METRIC, RunInfo
from runforge.tracking.store import Store


def evidence_of(store: Store, run: RunInfo) -> Evidence:
    """As the run's evaluation recorded it; raises `StoreError` where it has none."""
    split, _, name = run.tags.get(PRIMARY_METRIC, "").rpartition(":")[0].partition("/")
    with TemporaryDirectory() as folder:
        file = fetch_file(store, run.run_id, PREDICTIONS, Path(folder))
        if file is None or not name:
            mend = "name a run that was evaluated: `runforge runs`"
            raise StoreError("it was not evaluated", where=f"run {run}", mend=mend)
        predictions = Predictions.read(file)
    own = f"{split}/"
    numbers = {n.removeprefix(own): v for n, v in run.metrics.items() if n.startswith(own)}
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
        mend = f"bring them back: `runforge reproduce {run.run_id[:8]}`, or prepare the same data"
        raise DataError(what, where=str(places.sets(project)), mend=mend)
    return PreparedSet.open(folder)


def on_the_samples_of(
    evidence: Evidence, judged: Evidence, folder: Path, data: PreparedSet
) -> Evidence:
    """What the model of the bundle in `folder` says of the samples that `evidence` is of.

    `judged` is what is known of that model on other samples.
    """
    model = bundle.load(folder)
    try:
        evaluating.check_same_data(model, data)
    except DataError as error:
        what = f"the champion (run {judged.run_id}) can't be held against it: {error.what}"
        mend = "let it compete under another name: promotion.model=NAME"
        raise DataError(what, where=f"run {evidence.run_id}", mend=mend) from error
    predictions = evaluating.predict_split(model, data, evidence.predictions.split)
    figures = model.task.figures(predictions, resamples=100, seed=0)
    return replace(judged, numbers=figures.numbers(), predictions=predictions)


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
