"""A sweep: one parent run, and a child run for each combination of values.

Hydra's launchers run the trials (one after the other, or with `hydra/launcher=joblib` several at
once); each trial is a whole run of its own, with its own worker process, forked from a warm one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from runforge import config, lineage, outcome, signals
from runforge.auto import Chooser, Chosen
from runforge.config import Composed
from runforge.errors import ConfigError, RunforgeError
from runforge.handover import node_rank
from runforge.identity import identity, joint
from runforge.launch import launched
from runforge.one_run import Plan, command_line, execute
from runforge.recording import record_origin
from runforge.tracking.find import children
from runforge.tracking.run import Run, true_status
from runforge.tracking.search import KIND, SWEEP
from runforge.tracking.store import open_store
from runforge.unfinished import going_on
from runforge.warm import fork


def run(project: Path, overrides: Sequence[str]) -> None:
    """Runs every combination, records them under a parent run and prints its id.

    Of a sweep that was stopped, the trials that had finished are left as they are.

    Raises `ConfigError` before the first trial where any combination is mistaken, and
    `outcome.TrialsFailed` at the end, naming the trials that did not finish.
    """
    trials = config.trials(project, overrides)
    # Composed here and not in the trial: Hydra can't compose while it runs a job.
    composed = {trial: config.compose(project, trial) for trial in trials}
    names = trial_names(trials)
    if any(node_rank(one.settings.machine) for one in composed.values()):
        _take_part(project, overrides, composed, names)
        return
    store = open_store(project, _experiment_name(list(composed.values())))
    parts = {names[trial]: identity(one.values) for trial, one in composed.items()}
    fresh = any(one.settings.fresh for one in composed.values())

    def start() -> Run:
        return Run.start(store, f"sweep {_varied(trials)}", {KIND: SWEEP})

    with (
        going_on(project, store, joint(parts), fresh=fresh, start=start) as parent,
        true_status(parent),
    ):
        origin = lineage.collect(
            project, data_root=None, command=command_line(), overrides=overrides
        )
        record_origin(parent, origin)
        parent_id = parent.run_id
        done = {t.name for t in children(store, parent_id) if t.status == "FINISHED"}

        left = {given: one for given, one in composed.items() if names[given] not in done}
        plans = _plans(project, left, names, parent_id)

        def trial(given: tuple[str, ...]) -> None:
            _attempt(plans[given])

        config.multirun(project, overrides, list(plans), trial)
        found = outcome.record(store, parent)
        print(parent.run_id)
        outcome.tell(found)


def _plans(
    project: Path,
    composed: dict[tuple[str, ...], Composed],
    names: dict[tuple[str, ...], str],
    parent_id: str,
) -> dict[tuple[str, ...], Plan]:
    """All before the first trial: what is measured beside another training is not its time."""
    chooser = Chooser(project, start=fork)
    chosen = {given: _chosen(chooser, one) for given, one in composed.items()}
    return {
        given: Plan(
            project,
            one.composed,
            names[given],
            parent=parent_id,
            quiet=True,
            choices=one.choices,
        )
        for given, one in chosen.items()
    }


def _chosen(chooser: Chooser, composed: Composed) -> Chosen:
    """What stands in the way of preparing a trial's data is told and recorded by the trial."""
    try:
        return chooser.chosen(composed)
    except RunforgeError:
        return Chosen(composed)


def _take_part(
    project: Path,
    overrides: Sequence[str],
    composed: dict[tuple[str, ...], Composed],
    names: dict[tuple[str, ...], str],
) -> None:
    """Does this node's part of every trial; node 0 records them."""

    def trial(given: tuple[str, ...]) -> None:
        _attempt(Plan(project, composed[given], names[given], quiet=True))

    config.multirun(project, overrides, list(composed), trial)


def trial_names(trials: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A name for each trial from what differs: `network=mlp, learning_rate=0.01`."""
    varying = _varying_keys(trials)
    short = {key: key.rpartition(".")[2] for key in varying}
    ambiguous = {s for s in short.values() if list(short.values()).count(s) > 1}
    shown = {key: key if s in ambiguous else s for key, s in short.items()}
    names = {}
    for trial in trials:
        values = dict(override.split("=", 1) for override in trial)
        differing = ", ".join(f"{shown[key]}={values[key]}" for key in varying)
        names[trial] = differing or "the only trial"
    return names


def _varying_keys(trials: Sequence[tuple[str, ...]]) -> list[str]:
    values: dict[str, set[str]] = {}
    for trial in trials:
        for override in trial:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def _varied(trials: Sequence[tuple[str, ...]]) -> str:
    return " × ".join(key.rpartition(".")[2] for key in _varying_keys(trials)) or "of one trial"


def _experiment_name(composed: Sequence[Composed]) -> str:
    names = sorted({c.settings.experiment_name for c in composed})
    if len(names) > 1:
        mend = "a sweep is recorded in one experiment"
        raise ConfigError(f"it varies: {', '.join(names)}", where="experiment_name", mend=mend)
    return names[0]


def _attempt(plan: Plan) -> None:
    """One trial; its failure is told and recorded, and the sweep goes on."""
    print(f"trial {plan.name}", file=sys.stderr)
    try:
        # Here as well as round the command: joblib has processes of its own.
        with (
            signals.as_interrupts(),
            launched(plan.composed.settings, *plan.steps, start=fork) as started,
        ):
            execute(plan, started)
    except RunforgeError as error:
        print(f"trial {plan.name} failed: {error}", file=sys.stderr)
