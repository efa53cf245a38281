"""One run from configuration to record, for the stage `train`, `runforge train` and each trial."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from runforge import lineage, places, preparation
from runforge.bundle_file import Bundle
from runforge.choices import Choices
from runforge.config import Composed
from runforge.driver import assist, work
from runforge.errors import RunforgeError, StoreError
from runforge.identity import identity
from runforge.job import Job, Step
from runforge.launch import Launched
from runforge.lineage import Lineage
from runforge.lineage_file import describe
from runforge.patch import Patch, uncommitted
from runforge.recording import (
    record_bundle,
    record_choices,
    record_data,
    record_evaluated_as,
    record_evaluation,
    record_lineage,
    record_model,
    record_profile,
    record_start,
)
from runforge.schema import Schema
from runforge.tracking.artifacts import download_bundle
from runforge.tracking.find import find_run
from runforge.tracking.run import Run, true_status
from runforge.tracking.search import TRAINED_BY
from runforge.tracking.store import Store, open_store
from runforge.unchanged import unchanged
from runforge.unfinished import going_on


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
    choices: Choices | None = None
    """What `trainer.auto` has put into the configuration."""


def execute(plan: Plan, launched: Launched) -> str | None:
    """Does this node's part of a run; returns the run's id, None on a node that does not record."""
    if launched.order.node_rank:
        _execute_part(plan, launched)
        return None
    return _execute_recorded(plan, launched)


def _execute_recorded(plan: Plan, launched: Launched) -> str:
    """Prepares, trains, evaluates and records.

    A mistake in the data is told before there is a run, except for a trial of a sweep, which is
    recorded as failed: its parent must show every trial.
    """
    settings = plan.composed.settings
    store = open_store(plan.project, settings.experiment_name)
    try:
        initial = initial_bundle(store, plan.project, settings.init_from)
        prepared = _prepared(plan)
    except RunforgeError as error:
        if plan.parent:
            Run.start(store, plan.name, {}, parent=plan.parent).end("FAILED", str(error))
        raise
    origin = _origin(plan.project, plan.composed)
    changes = uncommitted(plan.project, data_root=plan.project / settings.data.root)
    same = _identity(plan, prepared, initial)

    def start() -> Run:
        return Run.start(store, plan.name, {}, parent=plan.parent)

    with (
        going_on(plan.project, store, same, fresh=settings.fresh, start=start) as run,
        true_status(run),
        unchanged(prepared),
    ):
        _record_begin(run, plan, prepared, origin, changes)
        job = replace(
            _job(plan, run.run_id, prepared),
            lineage=origin.to_dict(),
            initial_bundle=initial,
        )
        work(job, run, launched)
        record_model(run, job.mlflow_model, settings.title)
        record_bundle(run, Path(job.model))
        record_profile(run, job.profile)
        if "evaluate" in plan.steps:
            record_evaluation(run, Path(job.evaluation), settings.evaluation.split)
    return run.run_id


def _record_begin(
    run: Run, plan: Plan, prepared: Path, origin: Lineage, changes: Patch | None
) -> None:
    """All that is known before the first step."""
    values = plan.composed.values
    record_start(run, values, origin)
    record_data(run, plan.composed.settings, prepared)
    record_choices(run, plan.choices)
    described = describe(origin, changes, values=values, prepared=prepared, steps=plan.steps)
    record_lineage(run, places.run_folder(plan.project, run.run_id), described, changes)


def _identity(plan: Plan, prepared: Path, initial: str | None) -> str:
    """What must be the same for a run that was stopped to be gone on with."""
    return identity(
        plan.composed.values,
        data=Schema.read(prepared / "schema.json").fingerprint,
        initial=initial,
        name=plan.name,
        parent=plan.parent,
        steps=" ".join(plan.steps),
    )


def _execute_part(plan: Plan, launched: Launched) -> None:
    """Trains this node's part of what node 0 records."""
    name = f"node-{launched.order.node_rank}-{os.getpid()}"
    assist(_job(plan, name, _prepared(plan)), launched)


def evaluate_again(project: Path, composed: Composed, trained: Bundle, launched: Launched) -> str:
    """Evaluates the pipeline's bundle in the run that trained it; returns the run's id."""
    store = open_store(project, composed.settings.experiment_name)
    run = _training_run(store, project, composed, trained.run_id)
    with true_status(run), unchanged(places.prepared(project), places.model(project)):
        plan = Plan(
            project,
            composed,
            composed.settings.title,
            steps=("evaluate",),
            prepared=places.prepared(project),
            model=places.model(project),
        )
        job = replace(
            _job(plan, run.run_id, places.prepared(project)),
            evaluation=str(places.evaluation(project)),
            lineage=dict(trained.lineage),
        )
        job.repeat("evaluate")
        work(job, run, launched)
        record_evaluated_as(run, composed.values)
        record_evaluation(run, Path(job.evaluation), composed.settings.evaluation.split)
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


def _training_run(store: Store, project: Path, composed: Composed, run_id: str) -> Run:
    """The run that trained; a new one where this store does not know it, as after a clone."""
    try:
        return Run.resume(store, find_run(store, run_id).run_id)
    except StoreError:
        print(f"evaluate: run {run_id} is not in this store; recording a new one", file=sys.stderr)
    started = Run.start(store, composed.settings.title, {TRAINED_BY: run_id})
    record_start(started, composed.values, _origin(project, composed))
    return started


def _origin(project: Path, composed: Composed) -> Lineage:
    return lineage.collect(
        project,
        data_root=composed.settings.data.root,
        command=command_line(),
        overrides=composed.overrides,
    )


def _prepared(plan: Plan) -> Path:
    settings = plan.composed.settings
    return plan.prepared or preparation.shared_set(plan.project, settings, quiet=plan.quiet)


def _job(plan: Plan, run_id: str, prepared: Path) -> Job:
    folder = places.run_folder(plan.project, run_id)
    return Job(
        steps=plan.steps,
        configuration=plan.composed.values,
        run_id=run_id,
        run_name=plan.name,
        run_folder=str(folder),
        prepared=str(prepared),
        model=str(plan.model or folder / "model"),
        evaluation=str(folder / "evaluation"),
        quiet=plan.quiet,
    )
