"""What a run recorded: every value of every metric, every figure, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from runforge.errors import StoreError
from runforge.foreign import read_json, typed
from runforge.metrics.figures import METRICS
from runforge.tracking.artifacts import fetch_file
from runforge.tracking.search import PRIMARY_METRIC, RunInfo
from runforge.tracking.store import Store, errors_of_store

T = TypeVar("T")

SYSTEM = "system/"
"""What the names of the machine's own metrics begin with."""

FIGURES = f"evaluation/{METRICS}"
"""The artifact with every figure of a run's evaluation."""

ORIGIN = "lineage/origin.json"
"""The artifact with where a run comes from and on what machine it began, as flat texts."""

Values = dict[str, dict[int, float]]
"""By name and step; of several at one step, the last."""


def metric_values(store: Store, run: RunInfo, folder: Path) -> Values:
    """All that training and evaluation logged; not the machine's load.

    Figures that are no metrics stand at step 0, as those do that are.
    """
    found: Values = {}
    with errors_of_store(store.uri, f"the metrics of run {run.run_id} can't be read"):
        for name in store.client.get_run(run.run_id).data.metrics:
            if not name.startswith(SYSTEM):
                history = store.client.get_metric_history(run.run_id, name)
                ordered = sorted(history, key=lambda point: point.timestamp)
                found[name] = {point.step: float(point.value) for point in ordered}
    for name, value in figures(store, run, folder).items():
        found.setdefault(name, {}).setdefault(0, value)
    return found


def figures(store: Store, run: RunInfo, folder: Path) -> dict[str, float]:
    """Every figure of a run's evaluation, as `test/accuracy`, with the ends of intervals.

    `folder`: for what is fetched. None where it was not evaluated; of a run that recorded no file
    of them, its metrics.
    """
    split = f"{run.tags.get(PRIMARY_METRIC, '').partition('/')[0]}/"
    named = {name: value for name, value in run.metrics.items() if name.startswith(split)}
    read = _fetched(dict[str, float], store, run, FIGURES, folder)
    return named | {f"{split}{name}": value for name, value in (read or {}).items()}


def facts(store: Store, run: RunInfo, folder: Path) -> dict[str, str]:
    """The run's tags, and what it recorded besides of where it comes from, by the same names.

    A run that was recorded before has all of it in its tags.
    """
    return {**(_fetched(dict[str, str], store, run, ORIGIN, folder) or {}), **run.tags}


def _fetched(kind: type[T], store: Store, run: RunInfo, name: str, folder: Path) -> T | None:
    """An artifact's JSON; None where the run has no such file."""
    path = fetch_file(store, run.run_id, name, folder)
    try:
        return None if path is None else typed(kind, read_json(path))
    except ValueError as error:
        what = f"{name} of run {run} was altered ({error})"
        raise StoreError(what, where=store.shown_uri, mend="name another run") from error
