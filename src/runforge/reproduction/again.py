"""A run made again from its lineage, in a clean work tree, and the verdict on it, recorded."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runforge import lineage_file
from runforge.config import experiment_name
from runforge.errors import StoreError
from runforge.launch import FOLDER
from runforge.reproduction import recorded as records
from runforge.reproduction import surroundings
from runforge.reproduction.comparison import Pair, compare
from runforge.reproduction.data import Brought, bring
from runforge.reproduction.recorded import Recorded
from runforge.reproduction.rerun import Done, Orders, begun, rerun
from runforge.reproduction.verdict import Evidence, Verdict, judge
from runforge.reproduction.worktree import clean_worktree
from runforge.tracking.artifacts import fetch_file
from runforge.tracking.find import find_run
from runforge.tracking.run import Run
from runforge.tracking.search import PRIMARY_METRIC, REPRODUCES
from runforge.tracking.store import Store, open_store

REPRODUCTION, REPRODUCED_BY = "runforge.reproduction", "runforge.reproduced_by"
"""Tags of a run that was made again: the verdict's first words, and the id of the other run."""
BECAUSE = "runforge.reproduction_because"


def make_again(project: Path, reference: str) -> Verdict:
    """Makes the run that a reference means again, and records the verdict on both.

    Nothing of the user's work tree, index, branches and outputs is touched. Raises `StoreError`
    where the run can't be made again, `DataError` where its commit or data can't be had.
    """
    store = open_store(project, experiment_name(project))
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as name:
        folder = Path(name)
        recorded = records.fetch(store, reference, folder)
        _tell(recorded)
        commit, patch = recorded.lineage.commit, recorded.patch
        with clean_worktree(project, commit, patch) as copy:
            root, dvc_hash = recorded.lineage.data_root, recorded.lineage.lineage["data_dvc_hash"]
            brought = bring(project, copy, root, dvc_hash)
            print(f"reproduce: data from {brought.origin}", file=sys.stderr)
            done = Done(None) if brought.odd else _run(store, project, recorded, copy)
        verdict = _judged(store, recorded, brought, done, folder)
    _record(store, verdict)
    return verdict


def _tell(recorded: Recorded) -> None:
    run, commit = recorded.run, recorded.lineage.commit or "no commit"
    with_patch = " and its patch" if recorded.patch else ""
    print(f"reproduce: run {run}, from {commit[:12]}{with_patch}", file=sys.stderr)
    machine = surroundings.machine(recorded)
    for difference in (*surroundings.differences(recorded), *machine.differences):
        print(f"reproduce: environment: {difference}", file=sys.stderr)


def _run(store: Store, project: Path, recorded: Recorded, copy: Path) -> Done:
    values = _values(recorded)
    # Made here, where it is missing: the work tree would give it a place for artifacts in itself.
    open_store(project, values["experiment_name"])
    evaluated = ("evaluate",) if PRIMARY_METRIC in recorded.run.tags else ()
    orders = Orders(
        copy=copy,
        values=values,
        stages=("prepare", "train", *evaluated),
        code_root=recorded.lineage.lineage["code_root"],
        store_uri=store.uri,
    )
    with _marked(store, recorded, copy):
        done = rerun(orders)
    if done.undelivered:
        what = f"it was away while run {done.run_id} was recorded, which is not whole"
        raise StoreError(what, where=store.shown_uri, mend="try again when it answers")
    if evaluated and done.run_id and not done.failed:
        report = f"--run-id {done.run_id} --artifact-path evaluation/report.html"
        print(f"reproduce: its report: `mlflow artifacts download {report}`", file=sys.stderr)
    return done


@contextmanager
def _marked(store: Store, recorded: Recorded, copy: Path) -> Iterator[None]:
    """Whatever becomes of the new run, it says what it is."""
    try:
        yield
    finally:
        run_id = begun(copy)
        if run_id is not None:
            Run(store, run_id).set_tags({REPRODUCES: recorded.run.run_id})


def _values(recorded: Recorded) -> dict[str, Any]:
    """The recorded configuration, on this machine; `latest` is the run that it was then."""
    values = {**recorded.configuration, "machine": surroundings.machine(recorded).node}
    if recorded.evaluated_as is not None:
        values["evaluation"] = recorded.evaluated_as
    if values["init_from"] is not None:
        values["init_from"] = recorded.run.tags.get("runforge.init_from", values["init_from"])
    return values


def _judged(
    store: Store, recorded: Recorded, brought: Brought, done: Done, folder: Path
) -> Verdict:
    machine = surroundings.machine(recorded)
    if done.run_id is None:
        other = [*surroundings.differences(recorded), *machine.differences]
        evidence = Evidence(recorded, brought, None, other, None)
        return judge(recorded.run.run_id, None, (), evidence)
    now = find_run(store, done.run_id)
    theirs = folder / now.run_id
    checks = () if done.failed else compare(Pair(store, recorded.run, now, folder / "compared"))
    found = surroundings.differences(recorded, records.requirements(store, now, theirs))
    found += surroundings.worker_differences(recorded.run.tags, now.tags)
    evidence = Evidence(
        recorded=recorded,
        brought=brought,
        code=_code(store, now.run_id, theirs),
        environment=[*found, *machine.differences],
        fingerprint=now.tags.get("runforge.data_fingerprint"),
    )
    return judge(recorded.run.run_id, now.run_id, checks, evidence)


def _code(store: Store, run_id: str, folder: Path) -> dict[str, str] | None:
    name = f"{lineage_file.FOLDER}/{lineage_file.DESCRIPTION}"
    path = fetch_file(store, run_id, name, folder)
    return None if path is None else lineage_file.read(path).code


def _record(store: Store, verdict: Verdict) -> None:
    told = {REPRODUCTION: verdict.verdict, BECAUSE: verdict.because}
    was = Run(store, verdict.run_id)
    if verdict.made_again is None:
        was.set_tags(told)
        return
    now = Run(store, verdict.made_again)
    now.log_text(json.dumps(verdict.to_dict(), indent=1), "reproduction.json")
    now.set_tags({**told, REPRODUCES: verdict.run_id})
    was.set_tags({**told, REPRODUCED_BY: verdict.made_again})
