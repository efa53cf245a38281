"""Finding runs again: by id, prefix, name, `latest` or `best`; their trials."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from runforge.errors import StoreError
from runforge.tracking.best import Group, groups, left_out
from runforge.tracking.finished import finished_runs
from runforge.tracking.search import RunInfo, run_of_id, search
from runforge.tracking.store import Store, errors_of_store

LATEST, BEST = "latest", "best"

_IDENTIFIER = re.compile(r"[0-9a-f]{6,32}")
_WHOLE = 32
"""Digits of a whole id."""
_SHOWN_CANDIDATES = 5


def find_run(store: Store, reference: str) -> RunInfo:
    """The one run that a reference means.

    A reference is a run id, the beginning of one (6 digits or more), a run's name, `latest` (the
    last that finished), `best` or `best:DATA`. `best` is chosen by the headline metric on the
    validation split, never by test figures, among the experiment's finished runs on the same data:
    those of the run that finished last, or of the last on data that are called DATA. Which run that
    is, by what and out of how many, one line on standard error says. A local store is searched
    whole, a shared server in the store's experiment only. Raises `StoreError` where none or several
    fit, or the run was deleted.
    """
    if reference == LATEST:
        return _latest(store)
    if _is_best(reference):
        return _best(store, reference)
    found = _by_identifier(store, reference) or _by_name(store, reference)
    if len(found) == 1:
        return found[0]
    if found:
        raise _not_found(store, f"{reference!r} means {len(found)} runs", found)
    raise _absent(store, reference)


def find_runs(store: Store, references: Sequence[str]) -> list[RunInfo]:
    """The runs that references mean, in that order; raises as `find_run` does.

    `best` beside a run that is the best itself (`best latest`) is the best of the others, for what
    is asked is how the two compare.
    """
    others = {r: find_run(store, r) for r in references if not _is_best(r)}
    named = {run.run_id for run in others.values()}
    return [others.get(r) or _best(store, r, beside=named) for r in references]


def recent_runs(store: Store, *, count: int = _SHOWN_CANDIDATES) -> list[RunInfo]:
    """The runs started last, the newest first, trials and sweeps included."""
    return search(store, count=count)


def list_runs(
    store: Store, *, count: int, status: str | None = None, experiment: str | None = None
) -> list[RunInfo]:
    """The runs started last, the newest first: of a status, of an experiment, or of the project.

    Raises `StoreError` where no experiment has that name.
    """
    condition = "" if status is None else f"attributes.status = '{status}'"
    named = None if experiment is None else [_experiment(store, experiment)]
    return search(store, condition, experiments=named, count=count)


def children(store: Store, parent: str) -> list[RunInfo]:
    """The trials of a sweep, in the order in which they were started."""
    return search(store, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'")[::-1]


def _is_best(reference: str) -> bool:
    return reference == BEST or reference.startswith(f"{BEST}:")


def _latest(store: Store) -> RunInfo:
    finished = [run for run in finished_runs(store) if run.has_model]
    if not finished:
        raise _not_found(store, "no run with a model has finished", recent_runs(store))
    return _whole(store, max(finished, key=lambda run: run.ended or run.started))


def _best(store: Store, reference: str, beside: frozenset[str] | set[str] = frozenset()) -> RunInfo:
    """`beside`: ids of runs that it must not be, where there is another on the same data."""
    finished = [r for r in finished_runs(store, [store.experiment_id]) if r.has_model]
    newest_first = sorted(finished, key=lambda run: run.ended or run.started, reverse=True)
    every = groups(newest_first)
    chosen = _of_data(store, every, reference.partition(":")[2], newest_first)
    told = chosen.told()
    rest = [run for run in chosen.runs if run.run_id not in beside]
    if rest and chosen.best is not rest[0]:
        chosen = Group(tuple(rest), chosen.scores)
        told = f"{told}; held against it: run {rest[0].run_id[:8]} ({rest[0].name}): {chosen.score}"
    print("; ".join(filter(None, (f"best: {told}", left_out(chosen, every)))), file=sys.stderr)
    return _whole(store, chosen.best)


def _of_data(store: Store, every: Sequence[Group], name: str, finished: Sequence[RunInfo]) -> Group:
    """Of the run that finished last, where no name is given."""
    for group in every:
        if not name or any(run.data_name == name for run in group.runs):
            return group
    where = f"the experiment {store.experiment_name!r}"
    if name and every:
        names = sorted({group.data_name for group in every})
        mend = f"there are: {', '.join(f'best:{one}' for one in names)}"
        what = f"no finished run of {where} is on data called {name!r}"
        raise StoreError(what, where=store.shown_uri, mend=mend)
    what = f"no finished run of {where} has a validation figure to be chosen by"
    raise _not_found(store, what, finished)


def _whole(store: Store, run: RunInfo) -> RunInfo:
    found = run_of_id(store, run.run_id)
    if found is None:
        what = f"run {run} was removed meanwhile"
        raise StoreError(what, where=store.shown_uri, mend="give the command again")
    return found


def _by_identifier(store: Store, reference: str, *, deleted: bool = False) -> list[RunInfo]:
    if not _IDENTIFIER.fullmatch(reference):
        return []
    if len(reference) == _WHOLE:
        found = run_of_id(store, reference)
        return [found] if found is not None and found.is_deleted is deleted else []
    return search(store, f"attributes.run_id LIKE '{reference}%'", deleted=deleted)


def _by_name(store: Store, name: str, *, deleted: bool = False) -> list[RunInfo]:
    quote = '"' if "'" in name else "'"
    if quote in name:
        return []
    return search(store, f"attributes.run_name = {quote}{name}{quote}", deleted=deleted)


def _experiment(store: Store, name: str) -> str:
    with errors_of_store(store.uri):
        found = store.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "active":
            return str(found.experiment_id)
        there = [one.name for one in store.client.search_experiments()]
    mend = f"there are: {', '.join(there[:_SHOWN_CANDIDATES])}"
    raise StoreError(f"no experiment is called {name!r}", where=store.shown_uri, mend=mend)


def _absent(store: Store, reference: str) -> StoreError:
    """Whether it was deleted, and how it comes back."""
    gone = _by_identifier(store, reference, deleted=True) or _by_name(
        store, reference, deleted=True
    )
    if gone:
        mend = f"bring it back: `mlflow runs restore --run-id {gone[0].run_id}`, or name another"
        return StoreError(f"run {gone[0]} was deleted", where=store.shown_uri, mend=mend)
    what = f"no run is called {reference!r}"
    if len(reference) == _WHOLE and _IDENTIFIER.fullmatch(reference):
        what += ", or `mlflow gc` has removed it"
    return _not_found(store, what, recent_runs(store))


def _not_found(store: Store, what: str, candidates: Sequence[RunInfo]) -> StoreError:
    shown = ", ".join(str(run) for run in candidates[:_SHOWN_CANDIDATES])
    mend = f"candidates: {shown}" if shown else "record a run first: `runforge train`"
    return StoreError(what, where=store.shown_uri, mend=mend)
