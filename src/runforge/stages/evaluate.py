"""evaluate: prepared set + bundle → `out/evaluation/`, recorded in the run that trained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runforge import bundle_file, config, lineage, places
from runforge.config import Composed
from runforge.driver import signals_as_errors, true_status, work
from runforge.errors import StoreError
from runforge.job import Job
from runforge.one_run import command_line
from runforge.recording import record_evaluation, record_start
from runforge.summary import print_figures
from runforge.tracking.find import find_run
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store


def run(_: argparse.Namespace) -> None:
    """Evaluates `out/model/` on `out/prepared/` as `params.yaml` says."""
    project = config.find_project()
    composed = config.read_params(project)
    trained = bundle_file.read(places.model(project))
    store = open_store(project, composed.settings.experiment_name)
    recorded = _training_run(store, project, composed, trained.run_id)
    with signals_as_errors(), true_status(recorded):
        job = Job(
            steps=("evaluate",),
            configuration=composed.values,
            run_id=recorded.run_id,
            run_name=composed.settings.title,
            tracking_uri=store.uri,
            run_folder=str(places.run_folder(project, recorded.run_id)),
            prepared=str(places.prepared(project)),
            model=str(places.model(project)),
            evaluation=str(places.evaluation(project)),
            lineage=dict(trained.lineage),
        )
        work(job, recorded)
        record_evaluation(recorded, Path(job.evaluation), composed.settings.evaluation.split)
    print_figures(Path(job.evaluation))
    print(f"evaluate: run {recorded.run_id}, {job.evaluation}/report.html", file=sys.stderr)


def _training_run(store: Store, project: Path, composed: Composed, run_id: str) -> Run:
    """The run that trained; a new one where this store does not know it, as after a clone."""
    try:
        return Run.resume(store, find_run(store, run_id).run_id)
    except StoreError:
        print(f"evaluate: run {run_id} is not in this store; recording a new one", file=sys.stderr)
    started = Run.start(store, composed.settings.title, {"runforge.trained_by": run_id})
    origin = lineage.collect(project, data_root=composed.settings.data.root, command=command_line())
    record_start(started, composed.values, origin)
    return started
