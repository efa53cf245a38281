"""One MLflow run: what is written to it and how it ends."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID
from PIL import Image

from runforge.errors import StoreError
from runforge.journal import MetricPoint, check_metric_name
from runforge.redaction import HIDDEN, is_secret_name, redact
from runforge.tracking.origin import mirrored_tags, process_tags
from runforge.tracking.store import Store

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's limits, for each call and each value.
PARAMETERS_PER_BATCH = 100
METRICS_PER_BATCH = 1000
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000

DIGEST_LENGTH = 12


class Run:
    """A run that is being written; every method has written when it returns."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._not_finite: str | None = None

    @classmethod
    def start(
        cls, store: Store, name: str, tags: Mapping[str, str], *, parent: str | None = None
    ) -> Run:
        """A new run with status RUNNING; `parent` is the id of the sweep it is a trial of."""
        family = {} if parent is None else {MLFLOW_PARENT_RUN_ID: parent}
        made = store.client.create_run(
            store.experiment_id, tags={**process_tags(), **family}, run_name=name
        )
        run = cls(store.client, made.info.run_id, store.experiment_id)
        run.set_tags(tags)
        return run

    @classmethod
    def resume(cls, store: Store, run_id: str) -> Run:
        """A run that ended or was cut off, running again, now under this process."""
        run = cls.join(store.uri, run_id)
        run.client.update_run(run_id, status="RUNNING")
        run.set_tags(process_tags())
        return run

    @classmethod
    def join(cls, tracking_uri: str, run_id: str) -> Run:
        """A run that another process started and will end, such as a worker's."""
        client = MlflowClient(tracking_uri)
        return cls(client, run_id, str(client.get_run(run_id).info.experiment_id))

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        """Writes each value in full.

        Those longer than MLflow holds are left out and named in the tag
        `runforge.parameters_left_out`; the configuration among the artifacts holds them.
        """
        shown = {name: _shown(name, value) for name, value in parameters.items()}
        left_out = [name for name, value in shown.items() if len(value) > PARAMETER_LENGTH]
        kept = (Param(name, value) for name, value in shown.items() if name not in left_out)
        for batch in _batches(kept, PARAMETERS_PER_BATCH):
            self.client.log_batch(self.run_id, params=batch)
        if left_out:
            text = f"longer than {PARAMETER_LENGTH} characters, in full in the configuration: "
            self.set_tags({"runforge.parameters_left_out": text + ", ".join(left_out)})

    def log_metrics(self, points: Sequence[MetricPoint]) -> None:
        """Writes points in batches; the first value that is not finite is named in a tag.

        Raises ValueError for a name that MLflow would change.
        """
        self._send(points, {})

    def log_figures(self, figures: Mapping[str, float | None]) -> None:
        """Writes the final figures, and to the page of the run's model too, where it has one.

        All stand at step 0, as the UI draws bars of single values; an undefined one (None) is
        left out. Raises ValueError for a name that MLflow would change.
        """
        now = time.time_ns() // 1_000_000
        known = {name: value for name, value in figures.items() if value is not None}
        points = [MetricPoint(name, value, 0, now) for name, value in known.items()]
        self._send(points, self._model_and_data())

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags, without secrets; a value longer than MLflow holds is cut, and says so."""
        every = {**tags, **mirrored_tags(tags)}
        fitting = (RunTag(name, _fitting(redact(value))) for name, value in every.items())
        for batch in _batches(fitting, PARAMETERS_PER_BATCH):
            self.client.log_batch(self.run_id, tags=batch)

    def log_folder(self, path: Path, name: str) -> None:
        """Copies a folder's content to the artifact folder `name`.

        Raises `StoreError` where a link in it leads out of it: its target would be copied too.
        """
        _refuse_foreign_links(path)
        self.client.log_artifacts(self.run_id, str(path), name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copies one file to an artifact folder (None: to the top)."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Writes a text, without secrets, as the artifact file `name`."""
        self.client.log_text(self.run_id, redact(text), name)

    def log_picture(self, path: Path, name: str) -> None:
        """Writes a picture so that the UI's chart page shows it side by side for several runs."""
        check_metric_name(name)
        with Image.open(path) as picture:
            self.client.log_image(self.run_id, picture, key=name, step=0, synchronous=True)

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows as the artifact `name` (`….json`), which the UI shows as a table.

        Columns stand in the order in which rows first name them; what a row lacks, and a number
        that is not finite, is an empty cell. Written as `mlflow.log_table` does, which itself
        does not pass with pandas 3 and adds to a table that is already there.
        """
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        self.client.log_dict(self.run_id, {"columns": columns, "data": cells}, name)
        tables = [{"path": name, "type": "table"}]
        known = json.loads(self._tag(MLFLOW_LOGGED_ARTIFACTS) or "[]")
        tables += [table for table in known if table not in tables]
        self.set_tags({MLFLOW_LOGGED_ARTIFACTS: json.dumps(tables)})

    def log_dataset(
        self,
        *,
        name: str,
        digest: str,
        source: str,
        schema: Mapping[str, Any],
        profile: Mapping[str, Any],
        context: str,
    ) -> None:
        """Names the data as an input of the run: the UI's column Dataset.

        `source` is a path or an address; `schema` and `profile` are JSON values. Of the digest
        the first 12 characters are kept, which the UI shows beside the name.
        """
        dataset = Dataset(
            name=name,
            digest=digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": redact(source)}),
            schema=json.dumps(schema),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def end(self, status: Status, cause: str | None = None) -> None:
        """Ends the run; `cause` is the one line of what went wrong, the tag `runforge.error`."""
        if cause:
            self.set_tags({"runforge.error": cause})
        self.client.set_terminated(self.run_id, status)

    def _send(self, points: Sequence[MetricPoint], belongs_to: Mapping[str, str]) -> None:
        metrics = (
            Metric(check_metric_name(p.name), p.value, p.timestamp_ms, p.step, **belongs_to)
            for p in points
        )
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=batch)
        self._note_not_finite(points)

    def _model_and_data(self) -> dict[str, str]:
        """What figures belong to: the model recorded last, and the data set named first."""
        run = self.client.get_run(self.run_id)
        models = run.outputs.model_outputs if run.outputs else []
        data = run.inputs.dataset_inputs if run.inputs else []
        if not models:
            return {}
        model = {"model_id": models[-1].model_id, "run_id": self.run_id}
        if not data:
            return model
        one = data[0].dataset
        return {**model, "dataset_name": one.name, "dataset_digest": one.digest}

    def _tag(self, name: str) -> str | None:
        tags: dict[str, str] = self.client.get_run(self.run_id).data.tags
        return tags.get(name)

    def _note_not_finite(self, points: Sequence[MetricPoint]) -> None:
        """Charts draw an infinity as a huge number: say where it came first."""
        odd = next((p for p in points if not math.isfinite(p.value)), None)
        if odd is not None and self._not_finite is None:
            self._not_finite = f"{odd.name} was {odd.value} at step {odd.step}"
            self.set_tags({"runforge.not_finite": self._not_finite})


def _shown(name: str, value: str) -> str:
    return HIDDEN if is_secret_name(name) else redact(value)


def _fitting(value: str) -> str:
    if len(value) <= TAG_LENGTH:
        return value
    note = f" … [cut, {len(value)} characters]"
    return value[: TAG_LENGTH - len(note)] + note


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_foreign_links(folder: Path) -> None:
    root = folder.resolve()
    for path in root.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            mend = "put the file itself there"
            raise StoreError("a link that leads out of the folder", where=str(path), mend=mend)


def _batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(items, size)):
        yield batch
