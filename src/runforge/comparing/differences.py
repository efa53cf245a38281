"""What differs in configuration, environment and data; all of it from records alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runforge.comparing.contenders import Contender
from runforge.comparison import Changed, DataChange, Metric, Number, Relabelled
from runforge.errors import DataError
from runforge.manifest import Entry, read_manifest
from runforge.ordering import natural_key

FACTS = (
    *("python", "platform", "cpu", "gpus", "device", "processes", "threads", "determinism"),
    *("data_dvc_hash",),
)
"""What of a run's facts `runforge.…` its environment is made of, beside its packages."""


def configuration(contenders: Sequence[Contender]) -> tuple[Changed, ...]:
    """The keys whose values are not the same in all runs."""
    recorded = [one.configuration for one in contenders]
    if all(values is not None for values in recorded):
        return _changed([_texts(values) for values in recorded if values is not None])
    return _changed([one.info.parameters for one in contenders])


def environment(contenders: Sequence[Contender]) -> tuple[Changed, ...]:
    """Facts of the machine, then packages by version."""
    told = [one.facts for one in contenders]
    facts = [{n: t[f"runforge.{n}"] for n in FACTS if f"runforge.{n}" in t} for t in told]
    return (*_changed(facts), *_changed([_pins(one.requirements) for one in contenders]))


def metrics(contenders: Sequence[Contender]) -> tuple[Metric, ...]:
    """The figures that have an interval in some run, the main one first; without the split."""
    figures = [_figures(one) for one in contenders]
    names = dict.fromkeys(name for found in figures for name in found if f"{name}_low" in found)
    return tuple(
        Metric(name, tuple(_number(found, name) for found in figures)) for name in sorted(names)
    )


def data(
    first: Contender, other: Contender, manifest: Callable[[Contender], Path | None]
) -> DataChange:
    """The samples of one run against those of the first; `manifest` fetches the list of a run's."""
    fingerprints = (first.fingerprint, other.fingerprint)
    if fingerprints[0] == fingerprints[1] != "":
        return DataChange(fingerprints)
    paths = [manifest(one) for one in (first, other)]
    if paths[0] is None or paths[1] is None:
        lacking = next(one for one, path in zip((first, other), paths, strict=True) if path is None)
        note = f"run {lacking.info.run_id[:8]} recorded no list of its samples"
        return DataChange(fingerprints, note=note)
    was, now = (_used(path) for path in (paths[0], paths[1]))
    both = [name for name in was if name in now]
    if note := _renamed(was, now):
        return DataChange(fingerprints, note=note)
    added = tuple(name for name in now if name not in was)
    removed = tuple(name for name in was if name not in now)
    relabelled, moved = _moved(both, was, now, "label"), _moved(both, was, now, "split")
    named = (*added, *removed, *(one.sample_id for one in (*relabelled, *moved)))
    places = {name: (now if name in now else was)[name].where for name in named}
    return DataChange(fingerprints, added, removed, relabelled, moved, places=places)


def _used(path: Path) -> dict[str, Entry]:
    try:
        entries = read_manifest(path)
    except (ValueError, TypeError, KeyError) as error:
        mend = "compare other runs"
        raise DataError(f"no whole manifest ({error})", where=str(path), mend=mend) from error
    return {entry.id: entry for entry in entries if entry.id and entry.row is not None}


def _renamed(was: Mapping[str, Entry], now: Mapping[str, Entry]) -> str:
    """That most samples lie where they lay and are called otherwise; empty where they are not."""
    ids = {(entry.where, entry.label): name for name, entry in now.items()}
    there = [(name, ids.get((entry.where, entry.label))) for name, entry in was.items()]
    other = sum(found is not None and found != name for name, found in there)
    if 2 * other <= len(was):
        return ""
    return (
        f"{other} of {len(was)} samples have the same place and label and other ids: their cells"
        " were changed, or one run is of a version that took the ids of a table's rows from the"
        " chosen columns alone; train it again to compare sample by sample"
    )


def _moved(
    names: Sequence[str], was: Mapping[str, Entry], now: Mapping[str, Entry], what: str
) -> tuple[Relabelled, ...]:
    pairs = ((n, str(getattr(was[n], what)), str(getattr(now[n], what))) for n in names)
    return tuple(Relabelled(*pair) for pair in pairs if pair[1] != pair[2])


def _changed(given: Sequence[Mapping[str, str]]) -> tuple[Changed, ...]:
    names = sorted({name for values in given for name in values}, key=natural_key)
    rows = (Changed(name, tuple(values.get(name) for values in given)) for name in names)
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def _pins(requirements: Sequence[str]) -> dict[str, str]:
    pins = (line.partition("==") for line in requirements)
    return {name.lower(): version for name, _, version in pins}


def _figures(contender: Contender) -> dict[str, float]:
    prefix = f"{contender.predictions.split}/"
    every = contender.info.metrics.items()
    return {n.removeprefix(prefix): value for n, value in every if n.startswith(prefix)}


def _number(figures: Mapping[str, float], name: str) -> Number:
    return Number(figures.get(name), figures.get(f"{name}_low"), figures.get(f"{name}_high"))
