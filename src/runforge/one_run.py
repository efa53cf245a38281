"""One run from configuration to record, for the stage `train`, `runforge train` and each trial."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from runforge import lineage, places, preparation
from runforge.config import Composed
from runforge.driver import signals_as_errors, true_status, work
from runforge.errors import RunforgeError
from runforge.job import Job, Step
from runforge.recording import record_bundle, record_data, record_evaluation, record_start
from runforge.tracking.find import download_bundle, find_run
from runforge.tracking.run import Run
from runforge.tracking.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a run before it starts."""

    project: Path
    composed: Composed
    name: str
    steps: tuple[Step, ...] = ("train", "evaluate")
    prepared: Path | None = None
    """The prepared set; None: the shared one of this configuration, made if needed."""
    model: Path | None = None
    """Where the bundle goes; None: into the run's own folder."""
    parent: str | None = None
    """Run id of the sweep that this run is a trial of."""
    quiet: bool = False


def execute(plan: Plan) -> str:
    """Prepares, trains, evaluates and records; returns the run's id.

    A mistake in the data is told before there is a run, except for a trial of a sweep, which is
    recorded as failed: its parent must show every trial.
    """
    settings = plan.composed.settings
    store = open_store(plan.project, settings.experiment_name)
    try:
        initial = initial_bundle(store, plan.project, settings.init_from)
        prepared = plan.prepared or preparation.shared_set(plan.project, settings, quiet=plan.quiet)
    except RunforgeError as error:
        if plan.parent:
            Run.start(store, plan.name, {}, parent=plan.parent).end("FAILED", str(error))
        raise
    origin = lineage.collect(plan.project, data_root=settings.data.root, command=command_line())
    run = Run.start(store, plan.name, {}, parent=plan.parent)
    with signals_as_errors(), true_status(run):
        record_start(run, plan.composed.values, origin)
        record_data(run, settings, prepared)
        job = _job(plan, run, store, prepared, origin, initial)
        work(job, run)
        record_bundle(run, Path(job.model))
        if "evaluate" in plan.steps:
            record_evaluation(run, Path(job.evaluation), settings.evaluation.split)
    return run.run_id


def command_line() -> str:
    """The command as the user typed it, near enough to paste."""
    # Under `python -m runforge`, as DVC calls it, the program is a file named `__main__.py`.
    return shlex.join(["runforge", *sys.argv[1:]])


def initial_bundle(store: Store, project: Path, reference: str | None) -> str | None:
    """The folder of the bundle that `init_from` names, fetched from its run."""
    if reference is None:
        return None
    found = find_run(store, reference)
    destination = places.run_folder(project, found.run_id) / "bundle"
    return str(download_bundle(store, found.run_id, destination))


def _job(
    plan: Plan, run: Run, store: Store, prepared: Path, origin: lineage.Lineage, initial: str | None
) -> Job:
    folder = places.run_folder(plan.project, run.run_id)
    return Job(
        steps=plan.steps,
        configuration=plan.composed.values,
        run_id=run.run_id,
        run_name=plan.name,
        tracking_uri=store.uri,
        run_folder=str(folder),
        prepared=str(prepared),
        model=str(plan.model or folder / "model"),
        evaluation=str(folder / "evaluation"),
        lineage=origin.to_dict(),
        initial_bundle=initial,
        quiet=plan.quiet,
    )
