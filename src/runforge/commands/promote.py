"""`runforge promote RUN`: a run becomes the champion if every gate holds; `--rollback`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from runforge import config
from runforge.errors import ConfigError, GateRefused

if TYPE_CHECKING:
    from runforge.promotion import Decision
    from runforge.tracking.registry import ModelVersion
    from runforge.tracking.store import Store

UNUSABLE = "no command of runforge's can use it; promote another run: `runforge promote RUN`"


def run(options: argparse.Namespace) -> None:
    """Prints the gates to standard output; raises `GateRefused` where one does not hold."""
    _check(options)
    project = config.find_project()
    composed = config.compose(project, options.overrides)
    from runforge.tracking.store import open_store

    store = open_store(project, composed.settings.experiment_name)
    settings = composed.settings.promotion
    if options.rollback:
        from runforge.tracking.champion import roll_back

        now, before = roll_back(store, settings.model or composed.settings.data.name)
        moved = {"champion": now.run_id, "previous": before.run_id}
        print(json.dumps(moved) if options.json else now.run_id)
        _tell(store, now)
        return
    from runforge.promotion import promote
    from runforge.terminal import print_table
    from runforge.tracking.registry import ModelVersion

    decision = promote(store, project, options.run, settings, replace=options.replace_champion)
    if options.json:
        print(decision.to_json())
    else:
        rows = [(gate.name, "yes" if gate.holds else "no", gate.told) for gate in decision.gates]
        print_table(("gate", "holds", "found"), rows)
    if not decision.promoted:
        raise GateRefused(_refusal(decision))
    _tell(store, ModelVersion(decision.model, decision.version, decision.run_id))


def _refusal(decision: Decision) -> str:
    failed = [f'"{gate.name}": {gate.told}' for gate in decision.gates if not gate.holds]
    which = "gate" if len(failed) == 1 else "gates"
    return f"run {decision.run_id} is refused by the {which} {'; '.join(failed)}"


def _tell(store: Store, now: ModelVersion) -> None:
    from runforge.tracking.artifacts import bundle_left

    champion = f"{now.name}@champion"
    print(f"{champion} is version {now.version} now: run {now.run_id[:8]}", file=sys.stderr)
    if bundle_left(store, now.run_id) is None:
        print(f"promote: warning: that run's bundle is gone: {UNUSABLE}", file=sys.stderr)


def _check(options: argparse.Namespace) -> None:
    given = options.run
    if given is not None and "=" in given:  # an override in the place of the run
        options.overrides.insert(0, given)
        options.run = None
    if (options.run is None) != options.rollback:
        mend = "`runforge promote RUN`, or `runforge promote --rollback`"
        raise ConfigError("name a run, or --rollback, not both", where="promote", mend=mend)
