"""One MLflow run: what is written to it and how it ends."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from runforge.errors import Interrupted, StoreError
from runforge.journal import MetricPoint, check_metric_name
from runforge.redaction import HIDDEN, is_secret_name, redact
from runforge.tracking import intervals
from runforge.tracking.drivers import driver_tags, ownership
from runforge.tracking.model_folder import complete
from runforge.tracking.origin import as_mlflow_has_them, process_tags
from runforge.tracking.outbox import Outbox, tell_waiting
from runforge.tracking.store import Store, errors_of_store
from runforge.tracking.writes import Write, batches, clear_error, metric_writes, perform

Status = Literal["FINISHED", "FAILED", "KILLED"]

# MLflow's limits, for each call and each value.
PARAMETERS_PER_BATCH = 100
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000

DIGEST_LENGTH = 12


class Run:
    """A run that is being written.

    When a method returns, the store has what it was given; where the store is away, it waits on
    disk (`outbox`) and goes there in the same order. What the store refuses is raised.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.client = store.client
        self.run_id = run_id
        self._shown_uri = store.shown_uri
        self._outbox = Outbox(store.client, store.project, run_id)

    @classmethod
    def start(
        cls, store: Store, name: str, tags: Mapping[str, str], *, parent: str | None = None
    ) -> Run:
        """A new run with status RUNNING; `parent` is the id of the sweep it is a trial of.

        Raises `StoreError` where the store does not take it: without a run nothing can wait.
        """
        family = {} if parent is None else {MLFLOW_PARENT_RUN_ID: parent}
        own = {**process_tags(), **driver_tags(), **family}
        with errors_of_store(store.uri):
            made = store.client.create_run(store.experiment_id, tags=own, run_name=name)
        run = cls(store, made.info.run_id)
        run.set_tags(tags)
        return run

    @classmethod
    def resume(cls, store: Store, run_id: str) -> Run:
        """A run that ended or was cut off, running again, now under this process."""
        run = cls(store, run_id)
        with errors_of_store(store.uri), ownership(store.project):
            # First whose it is: it may be running, of a driver that is gone, and be closed for it.
            own = {**process_tags(), **driver_tags()}
            perform(run.client, run_id, Write("tags", {"values": own}))
            clear_error(run.client, run_id)
            run.client.update_run(run_id, status="RUNNING")
        return run

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        """Writes each value in full.

        Those longer than MLflow holds are left out and named in the tag
        `runforge.parameters_left_out`; the configuration among the artifacts holds them.
        """
        shown = {name: _shown(name, value) for name, value in parameters.items()}
        left_out = [name for name, value in shown.items() if len(value) > PARAMETER_LENGTH]
        kept = ((name, value) for name, value in shown.items() if name not in left_out)
        for batch in batches(kept, PARAMETERS_PER_BATCH):
            self._give("parameters", values=dict(batch))
        if left_out:
            text = f"longer than {PARAMETER_LENGTH} characters, in full in the configuration: "
            self.set_tags({"runforge.parameters_left_out": text + ", ".join(left_out)})

    def log_metrics(self, points: Sequence[MetricPoint]) -> None:
        """Writes points in batches; the first value that is not finite is named in a tag.

        Raises ValueError for a name that MLflow would change.
        """
        for write in list(metric_writes(points)):
            self._outbox.give(write)

    def try_metrics(self, points: Sequence[MetricPoint]) -> None:
        """As `log_metrics`, but raises where the store is away, for who keeps the points."""
        for write in list(metric_writes(points)):
            perform(self.client, self.run_id, write)

    def log_figures(self, figures: Mapping[str, float | None]) -> None:
        """Writes the final figures, and to the page of the run's model too, where it has one.

        All stand at step 0, as the UI draws bars of single values; an undefined one (None) is
        left out. The ends of an interval, `<name>_low` and `<name>_high`, are no metrics of their
        own (`intervals`), unless they are too many for a tag. Raises ValueError for a name that
        MLflow would change.
        """
        known = {check_metric_name(n): value for n, value in figures.items() if value is not None}
        values, ends = intervals.apart(known)
        if len(intervals.text(ends)) > TAG_LENGTH:
            values, ends = known, {}
        if values:
            self._give("figures", values=values, time_ms=_now_ms(), ends=ends)

    def describe(self, text: str) -> None:
        """Writes the run's description, Markdown without secrets.

        One that a person wrote stays.
        """
        self._give("note", text=redact(text))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags, without secrets; a value longer than MLflow holds is cut, and says so."""
        every = as_mlflow_has_them(tags)
        fitting = ((name, _fitting(redact(value))) for name, value in every.items())
        for batch in batches(fitting, PARAMETERS_PER_BATCH):
            self._give("tags", values=dict(batch))

    def log_folder(self, path: Path, name: str) -> None:
        """Copies a folder's content to the artifact folder `name`.

        Raises `StoreError` where a link in it leads out of it: its target would be copied too.
        """
        _refuse_foreign_links(path)
        self._give("folder", path, name=name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copies one file to an artifact folder (None: to the top)."""
        self._give("file", path, folder=folder)

    def log_text(self, text: str, name: str) -> None:
        """Writes a text, without secrets, as the artifact file `name`."""
        self._give("text", text=redact(text), name=name)

    def log_picture(self, path: Path, name: str) -> None:
        """Writes a picture so that the UI's chart page shows it side by side for several runs."""
        self._give("picture", path, name=check_metric_name(name), time_ms=_now_ms())

    def log_model(self, folder: Path, name: str) -> None:
        """Writes a model that `model_record` saved, as an output of the run."""
        complete(folder)
        self._give("model", folder, name=name)

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows as the artifact `name` (`….json`), which the UI shows as a table.

        Columns stand in the order in which rows first name them; what a row lacks, and a number
        that is not finite, is an empty cell. Written as `mlflow.log_table` does, which itself
        does not pass with pandas 3 and adds to a table that is already there.
        """
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        self._give("table", table={"columns": columns, "data": cells}, name=name)

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
        values = {
            "name": name,
            "digest": digest[:DIGEST_LENGTH],
            "source_type": "local",
            "source": json.dumps({"uri": redact(source)}),
            "schema": json.dumps(schema),
            "profile": json.dumps(profile),
        }
        self._give("dataset", values=values, context=context)

    def end(self, status: Status, cause: str | None = None) -> None:
        """Ends the run; `cause` is the one line of what went wrong, the tag `runforge.error`.

        Says so on standard error where the store is away and something waits for it.
        """
        said = _fitting(redact(cause)) if cause else None
        values = {"status": status, "cause": said, "time_ms": _now_ms()}
        self._outbox.give(Write("end", values), insist=True)
        tell_waiting(self._outbox, self._shown_uri)

    def _give(self, kind: str, path: Path | None = None, /, **values: Any) -> None:
        self._outbox.give(Write(kind, values, None if path is None else str(path)))


@contextmanager
def true_status(run: Run) -> Iterator[None]:
    """Ends `run` as what happens inside says: FINISHED, FAILED or KILLED, with the cause."""
    try:
        yield
    except Interrupted as error:
        run.end("KILLED", str(error))
        raise
    except BaseException as error:
        run.end("FAILED", str(error) or type(error).__name__)
        raise
    run.end("FINISHED")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
