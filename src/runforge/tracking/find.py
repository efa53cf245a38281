"""Finding runs again: by id, prefix, name, `latest` or `best`; their trials."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow.entities
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

_SAFE_IDENTIFIER = re.compile(r"\w[\w-]{0,63}")
_IDENTIFIER = re.compile(r"[0-9a-f]{6,32}")
_SHOWN_CANDIDATES = 5
_SEARCHED = 1000


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

    def __str__(self) -> str:
        return f"{self.run_id[:8]} ({self.name}, {self.status.lower()})"


TrialInfo = RunInfo


def find_run(store: Store, reference: str) -> RunInfo:
    """The one run that a reference means.

    A reference is a run id, the beginning of one (6 digits or more), a run's name, `latest` (the
    last that finished) or `best` (by the main metric, among the finished runs of the experiment).
    A local store is searched whole, a shared server in the store's experiment only. Raises
    `StoreError` where none or several fit.
    """
    if reference == "latest":
        return _latest(store)
    if reference == "best":
        return _best(store)
    found = _by_identifier(store, reference) or _by_name(store, reference)
    if len(found) == 1:
        return found[0]
    if found:
        raise _not_found(store, f"{reference!r} means {len(found)} runs", found)
    raise _not_found(store, f"no run is called {reference!r}", recent_runs(store))


def recent_runs(store: Store, *, count: int = _SHOWN_CANDIDATES) -> list[RunInfo]:
    """The runs started last, the newest first, trials and sweeps included."""
    return _search(store, "", count=count)


def list_runs(
    store: Store, *, count: int, status: str | None = None, experiment: str | None = None
) -> list[RunInfo]:
    """The runs started last, the newest first: of a status, of an experiment, or of the project.

    Raises `StoreError` where no experiment has that name.
    """
    condition = "" if status is None else f"attributes.status = '{status}'"
    named = None if experiment is None else [_experiment(store, experiment)]
    return _search(store, condition, experiments=named, count=count)


def children(store: Store, parent: str) -> list[TrialInfo]:
    """The trials of a sweep, in the order in which they were started."""
    return _search(store, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'")[::-1]


def _latest(store: Store) -> RunInfo:
    finished = _with_model(_search(store, "attributes.status = 'FINISHED'"))
    if not finished:
        raise _not_found(store, "no run has finished", recent_runs(store))
    return max(finished, key=lambda run: run.ended or run.started)


def _best(store: Store) -> RunInfo:
    every = _search(store, "attributes.status = 'FINISHED'", experiments=[store.experiment_id])
    told = [run for run in _with_model(every) if PRIMARY_METRIC in run.tags]
    if not told:
        what = f"no finished run of the experiment {store.experiment_name!r} names its main metric"
        raise _not_found(store, what, every)
    name, _, direction = told[0].tags[PRIMARY_METRIC].rpartition(":")
    scored = [run for run in told if math.isfinite(run.metrics.get(name, math.nan))]
    if not scored:
        raise _not_found(store, f"no finished run has a value of {name!r}", every)
    choose: Callable[..., RunInfo] = min if direction == "min" else max
    return choose(scored, key=lambda run: run.metrics[name])


def _by_identifier(store: Store, reference: str) -> list[RunInfo]:
    if not _IDENTIFIER.fullmatch(reference):
        return []
    if len(reference) == 32:
        return _exactly(store, reference)
    return _search(store, f"attributes.run_id LIKE '{reference}%'")


def _exactly(store: Store, run_id: str) -> list[RunInfo]:
    try:
        return [_info(store.client.get_run(run_id))]
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []


def _by_name(store: Store, name: str) -> list[RunInfo]:
    quote = '"' if "'" in name else "'"
    if quote in name:
        return []
    return _search(store, f"attributes.run_name = {quote}{name}{quote}")


def _search(
    store: Store,
    condition: str,
    *,
    experiments: Sequence[str] | None = None,
    count: int = _SEARCHED,
) -> list[RunInfo]:
    """Runs that fit MLflow's filter, the one started last first."""
    with errors_of_store(store.uri):
        page = store.client.search_runs(
            list(experiments or experiments_of_project(store)),
            condition,
            max_results=count,
            order_by=["attributes.start_time DESC"],
        )
    return [_info(run) for run in page]


def _with_model(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """Those that `latest` and `best` may mean: `reproduce` makes a copy, not a newer run."""
    trained = (run for run in runs if run.tags.get(KIND) not in (SWEEP, COMPARISON))
    return [run for run in trained if REPRODUCES not in run.tags]


def _experiment(store: Store, name: str) -> str:
    with errors_of_store(store.uri):
        found = store.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            return str(found.experiment_id)
        there = [one.name for one in store.client.search_experiments()]
    mend = f"there are: {', '.join(there[:_SHOWN_CANDIDATES])}"
    raise StoreError(f"no experiment is called {name!r}", where=store.shown_uri, mend=mend)


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
        started=_time(info.start_time),
        ended=_time(info.end_time) if info.end_time else None,
        experiment_id=str(info.experiment_id),
        parent=data.tags.get(MLFLOW_PARENT_RUN_ID),
        parameters=dict(data.params),
        metrics={**intervals.flat(intervals.ends_in(data.tags)), **data.metrics},
        tags=dict(data.tags),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _not_found(store: Store, what: str, candidates: Sequence[RunInfo]) -> StoreError:
    shown = ", ".join(str(run) for run in candidates[:_SHOWN_CANDIDATES])
    mend = f"candidates: {shown}" if shown else "record a run first: `runforge train`"
    return StoreError(what, where=store.shown_uri, mend=mend)
