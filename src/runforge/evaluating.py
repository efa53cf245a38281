"""The step `evaluate`: predictions of every sample of a split, and every figure from them.

The ranks share the samples in whole blocks, whose bounds do not depend on how many ranks there
are: so each sum is taken over the same numbers, and predictions are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from runforge import bundle, determinism, ranks, selection
from runforge.bundle import Model
from runforge.devices import device
from runforge.errors import DataError, TrainingError
from runforge.evaluation import write_evaluation
from runforge.history import HISTORY, History
from runforge.job import Job
from runforge.metrics.figures import Figures
from runforge.orders import FixedOrder
from runforge.predictions import Predictions
from runforge.prepared import MANIFEST, QUARANTINE, PreparedSet
from runforge.sample import Shown
from runforge.settings import Settings

BATCH_SIZE = 512
"""Samples predicted at once: figures do not depend on it, memory does."""

FEW = 100
"""Resamples where no interval is asked for."""

SHOWN = 5
"""Ids that a message names."""


def run(job: Job) -> dict[str, str]:
    """Evaluates the bundle at `job.model` and, on rank 0, writes `job.evaluation`.

    Returns the run's tags: the headline figure's name and which way is better, what the run is
    chosen by, the samples of both, whether the model is better than a constant answer, and what
    else a person should know of the figures.
    """
    settings = Settings.model_validate(job.configuration)
    chosen = settings.evaluation
    determinism.settle()
    prepared = PreparedSet.open(Path(job.prepared))
    model = _model(job)
    model.to(device(settings.machine))
    check_same_data(model, prepared)
    predictions = predict_split(model, prepared, chosen.split)
    validation = predictions
    if chosen.split != selection.SPLIT:
        validation = predict_split(model, prepared, selection.SPLIT)
    if not ranks.is_first():
        return {}
    figures = model.task.figures(predictions, resamples=chosen.resamples, seed=chosen.seed)
    headline = figures.main[0]
    chosen_by = _value(model, validation, headline)
    _write(job, model, prepared, predictions, figures, chosen_by)
    direction = "max" if figures.metrics[headline].better == "higher" else "min"
    tags = {"runforge.primary_metric": f"{chosen.split}/{headline}:{direction}"}
    if chosen_by:
        tags[selection.METRIC] = f"{selection.SPLIT}/{headline}:{direction}"
    return {**tags, **_told(figures), selection.HELD_OUT: held_out(prepared)}


def _told(figures: Figures) -> dict[str, str]:
    """Tags of what a person should read beside the figures."""
    told = {
        "runforge.baseline": figures.baseline.told if figures.baseline else "",
        "runforge.notes": " ".join(figures.notes),
    }
    return {name: text for name, text in told.items() if text}


def held_out(prepared: PreparedSet) -> str:
    """The tag of the samples that a run is chosen and measured by."""
    schema, targets = prepared.schema, prepared.targets.tolist()
    labels = (schema.classes[one] if schema.classes else repr(one) for one in targets)
    samples = zip(prepared.ids, prepared.splits, labels, strict=True)
    return selection.held_out(f"{schema.target_kind} {schema.target_name}", samples)


def _value(model: Model, validation: Predictions, headline: str) -> dict[str, float]:
    """The headline metric on the validation split; nothing where it has no value there."""
    figures = model.task.figures(validation, resamples=FEW, seed=0)
    value = figures.metrics[headline].value
    return {} if value is None else {headline: value}


def _model(job: Job) -> Model:
    """The bundle's model, on every rank; the others may be on machines that have no such file."""
    model = ranks.tell_all(bundle.load(Path(job.model)) if ranks.is_first() else None)
    assert model is not None
    return model


def predict_split(model: Model, prepared: PreparedSet, split: str) -> Predictions:
    """Predictions of every sample of a split, on every rank; `TrainingError`: some are none."""
    rows = prepared.rows(split)
    values, ids = predict(model, prepared, rows), np.array(prepared.ids)[rows]
    _check_finite(values, ids)
    return Predictions(
        ids=ids,
        split=split,
        targets=np.asarray(prepared.targets[rows]),
        values=values,
        classes=prepared.schema.classes,
    )


def _write(
    job: Job,
    model: Model,
    prepared: PreparedSet,
    predictions: Predictions,
    figures: Figures,
    chosen_by: Mapping[str, float],
) -> None:
    rows = prepared.rows(predictions.split)

    def shown(index: int) -> Shown:
        row: Shown = model.modality.show(prepared.inputs[rows[index]], prepared.schema.layout)
        return row

    write_evaluation(
        Path(job.evaluation),
        predictions=predictions,
        figures=figures,
        chosen_by=chosen_by,
        schema=prepared.schema,
        history=History.read(Path(job.model) / HISTORY),
        shown=shown,
        worst=job.configuration["evaluation"]["worst"],
        lineage=job.lineage,
        configuration=job.configuration,
        run_id=job.run_id,
        quarantine=Path(job.prepared) / QUARANTINE,
        manifest=Path(job.prepared) / MANIFEST,
    )


def predict(model: Model, prepared: PreparedSet, rows: np.ndarray) -> np.ndarray:
    """What the model says of the given rows of a prepared set [N, C], on every rank."""
    done, values = [rows[:0]], [np.empty((0, len(model.task.columns())), np.float32)]
    where = next(model.parameters()).device
    with torch.inference_mode():
        for block in FixedOrder(rows, batch_size=BATCH_SIZE, ranks=ranks.here()):
            if len(block):
                packed = torch.from_numpy(prepared.inputs[block]).to(where)
                done.append(block)
                values.append(model(packed).cpu().numpy())
    own = torch.from_numpy(np.concatenate(done)), torch.from_numpy(np.concatenate(values))
    return ranks.in_order(*own).numpy()


def _check_finite(values: np.ndarray, ids: np.ndarray) -> None:
    """Raises `TrainingError`, on every rank, where a sample of [N, C] has no prediction.

    Figures of the rest would flatter the model, and a class taken for it would be made up.
    """
    lost = ids[~np.isfinite(values).all(axis=1)].tolist()
    if lost:
        what = f"{len(lost)} of {len(ids)} samples have an output that is nan or infinite"
        mend = "nothing is written; train again with a smaller learning rate or in 32-true"
        raise TrainingError(f"{what}, first: {', '.join(lost[:SHOWN])}; {mend}")


def check_same_data(model: Model, prepared: PreparedSet) -> None:
    """Other data than it was trained on will do, where its classes and inputs are the same."""
    mine, theirs = model.schema, prepared.schema
    for name in ("classes", "packed_shape", "layout", "target_kind"):
        if getattr(mine, name) != getattr(theirs, name):
            what = f"the model was trained on data with other {name}"
            raise DataError(what, where="the prepared set", mend="train again: `dvc repro train`")
