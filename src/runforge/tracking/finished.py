"""Every finished run with the little that it is chosen by.

MLflow's own search reads all parameters, metrics and tags of each run, 4 ms of them: `best` of
10,000 runs would take most of a minute. A store that is a file is asked for those few by their
keys; any other, and one whose tables are not those that are known here, by a search.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from runforge import selection
from runforge.tracking.search import (
    KIND,
    PRIMARY_METRIC,
    REPRODUCES,
    TRAINED_BY,
    RunInfo,
    search,
    time_of,
)
from runforge.tracking.store import Store, errors_of_store, experiments_of_project

FINGERPRINT = "runforge.data_fingerprint"
"""The tag of a run's prepared set."""

TAGS = (
    *(KIND, PRIMARY_METRIC, REPRODUCES, TRAINED_BY, FINGERPRINT),
    *(selection.METRIC, selection.HELD_OUT, MLFLOW_PARENT_RUN_ID),
)
PARAMETER = "data.name"

_RUNS = """SELECT run_uuid, name, start_time, end_time, experiment_id FROM runs
    WHERE lifecycle_stage = 'active' AND status = 'FINISHED'"""
_TAGS = f"SELECT run_uuid, key, value FROM tags WHERE key IN ({', '.join('?' * len(TAGS))})"
_PARAMETERS = "SELECT run_uuid, key, value FROM params WHERE key = ?"
_METRICS = "SELECT run_uuid, key, value, is_nan FROM latest_metrics WHERE key >= ? AND key < ?"

Ask = Callable[..., Any]


def finished_runs(store: Store, experiments: Sequence[str] | None = None) -> list[RunInfo]:
    """The finished runs of the experiments (None: the project's), the one started last first.

    Each may lack parameters, metrics and tags that say nothing of its data or its validation
    figures: `search.run_of_id` has all of a run.
    """
    with errors_of_store(store.uri):
        named = list(experiments or experiments_of_project(store))
        found = _by_rows(store, set(named))
    if found is not None:
        return found
    return search(store, "attributes.status = 'FINISHED'", experiments=named)


def _by_rows(store: Store, experiments: set[str]) -> list[RunInfo] | None:
    """None where the store is no file, or not as it is known here."""
    tables = store.client._tracking_client.store
    if getattr(tables, "db_type", None) != "sqlite":
        return None
    try:
        with tables.ManagedSessionMaker(read_only=True) as session:
            return _read(session.connection().exec_driver_sql, experiments)
    except MlflowException:
        return None  # the search says what is wrong with it, if anything is


def _read(ask: Ask, experiments: set[str]) -> list[RunInfo]:
    values = _Values(defaultdict(dict), defaultdict(dict), defaultdict(dict))
    for run_id, key, value in ask(_TAGS, TAGS):
        values.tags[run_id][key] = value
    for run_id, key, value in ask(_PARAMETERS, (PARAMETER,)):
        values.parameters[run_id][key] = value
    for prefix in (selection.PREFIX, f"{selection.SPLIT}/"):
        for run_id, key, value, is_nan in ask(_METRICS, (prefix, f"{prefix[:-1]}0")):
            values.metrics[run_id][key] = math.nan if is_nan else value
    rows = [row for row in ask(_RUNS) if str(row[4]) in experiments]
    return [_info(row, values) for row in sorted(rows, key=lambda row: row[2], reverse=True)]


@dataclass(frozen=True, slots=True)
class _Values:
    """By run id and key."""

    tags: defaultdict[str, dict[str, str]]
    parameters: defaultdict[str, dict[str, str]]
    metrics: defaultdict[str, dict[str, float]]


def _info(row: Sequence[Any], values: _Values) -> RunInfo:
    run_id, name, started, ended, experiment = row
    tags = values.tags[run_id]
    return RunInfo(
        run_id=run_id,
        name=name or "",
        status="FINISHED",
        started=time_of(started),
        ended=time_of(ended) if ended else None,
        experiment_id=str(experiment),
        parent=tags.get(MLFLOW_PARENT_RUN_ID),
        parameters=values.parameters[run_id],
        metrics=values.metrics[run_id],
        tags=tags,
    )
