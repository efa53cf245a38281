"""What is written to a run, one function for each kind, from plain values and files.

Each may be done again: twice has the same effect as once. So a write whose answer got lost can be
repeated, and one that the store can't take now can wait on disk (`outbox`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import yaml
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_RUN_NOTE
from PIL import Image

from runforge.journal import MetricPoint, check_metric_name
from runforge.tracking import intervals
from runforge.tracking.metric_rows import log_points
from runforge.tracking.origin import WHILE_RUNNING, model_tags

T = TypeVar("T")

METRICS_PER_BATCH = 1000
"""MLflow's limit for each call."""

ERROR = "runforge.error"
"""The tag with the one line of what a run ended with."""

OURS = "*Written by runforge; it stays as you change it once this line is gone.*"
"""What a description ends with that may be written anew."""

SAVED = "runforge.saved"
"""The tag of a model that says when it was saved, to know it again."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write: its kind (a key of `KINDS`), the values, and the file or folder that it takes."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    path: str | None = None


def perform(client: MlflowClient, run_id: str, write: Write) -> None:
    """Does one write; when it returns, the store has it."""
    files = {} if write.path is None else {"path": Path(write.path)}
    KINDS[write.kind](client, run_id, **write.values, **files)


def metric_writes(points: Iterable[MetricPoint]) -> Iterator[Write]:
    """Points as writes of as many as MLflow takes at once, in their order.

    Raises ValueError for a name that MLflow would change.
    """
    rows = ([check_metric_name(p.name), p.value, p.step, p.timestamp_ms] for p in points)
    for batch in batches(rows, METRICS_PER_BATCH):
        yield Write("metrics", {"points": batch})


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _parameters(client: MlflowClient, run_id: str, *, values: Mapping[str, str]) -> None:
    """Of a run that goes on, what it began with holds: MLflow refuses other values."""
    there = client.get_run(run_id).data.params
    news = [Param(name, value) for name, value in values.items() if name not in there]
    client.log_batch(run_id, params=news)


def _tags(client: MlflowClient, run_id: str, *, values: Mapping[str, str]) -> None:
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in values.items()])


def _metrics(client: MlflowClient, run_id: str, *, points: Sequence[Sequence[Any]]) -> None:
    """`points`: name, value, step, milliseconds since 1970."""
    log_points(client, run_id, points)
    _tell_odd(client, run_id, ((name, value, step) for name, value, step, _ in points))


def _figures(
    client: MlflowClient,
    run_id: str,
    *,
    values: Mapping[str, float],
    time_ms: int,
    ends: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """At step 0, for the model recorded last and the data set named first; once where they stay.

    `ends`: of their intervals; those of other figures stay.
    """
    run = client.get_run(run_id)
    known: Mapping[str, float] = run.data.metrics
    belongs_to: dict[str, str] = {}
    if run.outputs and run.outputs.model_outputs:
        model = client.get_logged_model(run.outputs.model_outputs[-1].model_id)
        known = {metric.key: metric.value for metric in model.metrics or ()}
        belongs_to = {"model_id": model.model_id, "run_id": run_id, **_first_data(run)}
    news = {name: value for name, value in values.items() if known.get(name) != value}
    metrics = [Metric(name, v, time_ms, 0, **belongs_to) for name, v in news.items()]
    others = {n: e for n, e in intervals.ends_in(run.data.tags).items() if n not in values}
    every = {**others, **(ends or {})}
    tags = [RunTag(intervals.TAG, intervals.text(every))] if every else []
    client.log_batch(run_id, metrics=metrics, tags=tags)
    _tell_odd(client, run_id, ((name, value, 0) for name, value in news.items()))


def _note(client: MlflowClient, run_id: str, *, text: str) -> None:
    """Once more in place of an earlier one of ours; never of what a person wrote."""
    there = client.get_run(run_id).data.tags.get(MLFLOW_RUN_NOTE, "")
    if not there or OURS in there:
        client.set_tag(run_id, MLFLOW_RUN_NOTE, f"{text}\n\n{OURS}")


def _first_data(run: Run) -> dict[str, str]:
    if not run.inputs or not run.inputs.dataset_inputs:
        return {}
    data = run.inputs.dataset_inputs[0].dataset
    return {"dataset_name": data.name, "dataset_digest": data.digest}


def _tell_odd(client: MlflowClient, run_id: str, values: Iterable[tuple[str, float, int]]) -> None:
    """Charts draw an infinity as a huge number: a tag says where one came first."""
    odd = next((found for found in values if not math.isfinite(found[1])), None)
    tag = "runforge.not_finite"
    if odd is not None and tag not in client.get_run(run_id).data.tags:
        name, value, step = odd
        client.set_tag(run_id, tag, f"{name} was {value} at step {step}")


def _folder(client: MlflowClient, run_id: str, *, path: Path, name: str) -> None:
    client.log_artifacts(run_id, str(path), name)


def _file(client: MlflowClient, run_id: str, *, path: Path, folder: str | None) -> None:
    client.log_artifact(run_id, str(path), folder)


def _text(client: MlflowClient, run_id: str, *, text: str, name: str) -> None:
    client.log_text(run_id, text, name)


def _picture(client: MlflowClient, run_id: str, *, path: Path, name: str, time_ms: int) -> None:
    # MLflow puts a number of its own drawing into the file's name, and writes a small copy last.
    made = f"images/{name.replace('/', '~')}+step+0+timestamp+{time_ms}+"
    known = [file.path for file in client.list_artifacts(run_id, "images")]
    if any(one.startswith(made) and one.endswith(".webp") for one in known):
        return
    with Image.open(path) as picture:
        client.log_image(run_id, picture, key=name, step=0, timestamp=time_ms, synchronous=True)


def _table(client: MlflowClient, run_id: str, *, table: Mapping[str, Any], name: str) -> None:
    client.log_dict(run_id, dict(table), name)
    tables = [{"path": name, "type": "table"}]
    known = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    tables += [table for table in known if table not in tables]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(tables))


def _dataset(client: MlflowClient, run_id: str, *, values: Mapping[str, str], context: str) -> None:
    tags = [InputTag("mlflow.data.context", context)]
    client.log_inputs(run_id, [DatasetInput(Dataset(**values), tags)])


def _model(client: MlflowClient, run_id: str, *, path: Path, name: str) -> None:
    """`path`: a folder in MLflow's form; its file `MLmodel` learns the model's id."""
    # Not by `Model.load`, which takes a path for an address: `%20` in it would be a space.
    noted = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
    run, record = client.get_run(run_id), Model.from_dict(noted)
    made = _logged_model(client, run, record, name)
    record.model_id = record.model_uuid = made.model_id
    record.artifact_path = made.artifact_location
    record.save(str(path / "MLmodel"))
    client.log_model_artifacts(made.model_id, str(path))
    known = run.outputs.model_outputs if run.outputs else []
    if made.model_id not in {output.model_id for output in known}:
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)


def _logged_model(client: MlflowClient, run: Run, record: Model, name: str) -> LoggedModel:
    """MLflow's entry for a saved model: the one that was made for it already, or a new one."""
    experiment, mark = run.info.experiment_id, {SAVED: str(record.utc_time_created)}
    condition = f"source_run_id = '{run.info.run_id}'"
    for found in client.search_logged_models([experiment], condition):
        if found.tags.items() >= mark.items():
            return found
    return client.create_logged_model(
        experiment,
        name=name,
        source_run_id=run.info.run_id,
        params=run.data.params,
        tags={**model_tags(run.data.tags), **mark},
        model_type="pt2",
    )


def _end(
    client: MlflowClient, run_id: str, *, status: str, cause: str | None, time_ms: int
) -> None:
    """Without a cause, what an earlier end of the run left as one is taken away.

    And what says which process its driver was.
    """
    if cause:
        client.set_tag(run_id, ERROR, cause)
    else:
        clear_error(client, run_id)
    client.set_terminated(run_id, status, time_ms)
    for name in WHILE_RUNNING & client.get_run(run_id).data.tags.keys():
        client.delete_tag(run_id, name)


def clear_error(client: MlflowClient, run_id: str) -> None:
    """Takes away the cause that an earlier end of the run left."""
    if ERROR in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, ERROR)


KINDS: dict[str, Callable[..., None]] = {
    "parameters": _parameters,
    "tags": _tags,
    "metrics": _metrics,
    "figures": _figures,
    "note": _note,
    "folder": _folder,
    "file": _file,
    "text": _text,
    "picture": _picture,
    "table": _table,
    "dataset": _dataset,
    "model": _model,
    "end": _end,
}
