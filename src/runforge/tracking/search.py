"""Runs as the store knows them: every search of it goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow.entities
from mlflow.entities import LifecycleStage, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from runforge.errors import StoreError
from runforge.tracking import intervals
from runforge.tracking.store import Store, errors_of_store, experiments_of_project

PRIMARY_METRIC = "runforge.primary_metric"
"""The tag that names a run's main metric and which way is better: `test/accuracy:max`."""
KIND = "runforge.kind"
"""The tag of a run that has no model of its own: what it is instead."""
SWEEP, COMPARISON = "sweep", "comparison"
"""What it is: the parent run of trials; what `runforge compare` found."""
REPRODUCES = "runforge.reproduces"
"""The tag of a run that was made to check another: the id of that other."""
TRAINED_BY = "runforge.trained_by"
"""The tag of a run that evaluated the model of another, which this store does not have."""

_SAFE_IDENTIFIER = re.compile(r"\w[\w-]{0,63}")
PAGE = 1000
"""Runs that are asked for at once."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the store knows it; metrics are the last values, with the ends of intervals."""

    run_id: str
    name: str
    status: str
    started: datetime
    ended: datetime | None
    experiment_id: str
    parent: str | None
    """Run id of the sweep that it is a trial of."""
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    is_deleted: bool = False
    """It can be restored until `mlflow gc` removes it and its artifacts."""

    def __str__(self) -> str:
        return f"{self.run_id[:8]} ({self.name}, {self.status.lower()})"

    @property
    def data_name(self) -> str:
        """What its data are called; empty where nothing says so."""
        return self.parameters.get("data.name", "")

    @property
    def has_model(self) -> bool:
        """Whether `latest` and `best` may mean it: `reproduce` makes a copy, not a newer run."""
        return not self.tags.keys() & {KIND, REPRODUCES, TRAINED_BY}


def search(
    store: Store,
    condition: str = "",
    *,
    experiments: Sequence[str] | None = None,
    count: int | None = None,
    deleted: bool = False,
) -> list[RunInfo]:
    """Runs that fit MLflow's filter, the one started last first; `count` None: all of them.

    `experiments` None: those of the project. `deleted`: those that were, and no others.
    """
    with errors_of_store(store.uri):
        named = list(experiments or experiments_of_project(store))
        return [_info(run) for run in _pages(store, named, condition, count, deleted)]


def run_of_id(store: Store, run_id: str) -> RunInfo | None:
    """The run of that id, also one that was deleted; None where the store has none any more."""
    with errors_of_store(store.uri):
        try:
            return _info(store.client.get_run(run_id))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return None


def _pages(
    store: Store, experiments: list[str], condition: str, count: int | None, deleted: bool
) -> Iterator[mlflow.entities.Run]:
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    left, token = count, None
    while left is None or left > 0:
        page = store.client.search_runs(
            experiments,
            condition,
            run_view_type=view,
            max_results=PAGE if left is None else min(left, PAGE),
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        left, token = (None if left is None else left - len(page)), page.token
        if not token:
            return


def _info(run: mlflow.entities.Run) -> RunInfo:
    """Raises `StoreError` for an id that is none: it names folders here."""
    info, data = run.info, run.data
    if not _SAFE_IDENTIFIER.fullmatch(info.run_id):
        what, mend = f"{info.run_id!a:.80} is no run id", "the store was altered: do not use it"
        raise StoreError(what, where="MLflow", mend=mend)
    return RunInfo(
        run_id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        started=time_of(info.start_time),
        ended=time_of(info.end_time) if info.end_time else None,
        experiment_id=str(info.experiment_id),
        parent=data.tags.get(MLFLOW_PARENT_RUN_ID),
        parameters=dict(data.params),
        metrics={**intervals.flat(intervals.ends_in(data.tags)), **data.metrics},
        tags=dict(data.tags),
        is_deleted=info.lifecycle_stage == LifecycleStage.DELETED,
    )


def time_of(milliseconds: int) -> datetime:
    """Of MLflow's milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
